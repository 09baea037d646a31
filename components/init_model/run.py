"""The work of the init_model step: initial weights to the artifact that training starts from."""

from pathlib import Path

from components.init_model.config import InitModelConfig
from model.errors import ConfigError


def run(config: InitModelConfig, *, home: Path, output: Path) -> dict[str, float]:
    """Write the initial model artifact to ``output``; downloads and conversions are kept under ``home``.

    Returns:
        Scalars: parameters in all, and those of the word embedding table.

    Raises:
        ArtifactError: weights cannot be had; the message names the alternatives.
        ConfigError: unknown encoder settings.
    """
    if config.family == "sentence_transformer":
        return _whole_model(config, home, output)
    from model.unified.build import build_encoder
    from model.weights.convert import prepare_weights
    from model.weights.random import random_weights

    if config.source == "random":
        paths = random_weights(home / "weights")
    elif config.source == "packages":
        paths = prepare_weights(home)
    else:
        from model.weights.hub import hub_weights

        paths = hub_weights(home, text=config.hub_text, image=config.hub_image, audio=config.hub_audio)
    encoder = build_encoder(paths, config.encoder, source=config.source, seed=config.seed)
    encoder.save(output)
    return {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "table_parameters": encoder.table.weight.numel(),
    }


def _whole_model(config: InitModelConfig, home: Path, output: Path) -> dict[str, float]:
    """Any model of sentence-transformers, as it is."""
    from model.sentence_transformer.build import build_sentence_transformer

    if config.source != "hub":
        raise ConfigError(
            f"model.source={config.source} is of the unified family: set source=hub and checkpoint=<local directory or "
            "hub id> for family=sentence_transformer"
        )
    encoder = build_sentence_transformer(config.checkpoint, config.encoder, home=home)
    encoder.save(output)
    return {"parameters": sum(p.numel() for p in encoder.parameters()), "table_parameters": 0}
