"""The work of the init_model step: initial weights to the artifact that training starts from."""

from pathlib import Path

from components.init_model.config import InitModelConfig


def run(config: InitModelConfig, *, home: Path, output: Path) -> dict[str, float]:
    """Write the initial model artifact to ``output``; downloads and conversions are kept under ``home``.

    Returns:
        Scalars: parameters in all, and those of the word embedding table.

    Raises:
        ArtifactError: weights cannot be had; the message names the alternatives.
        ConfigError: unknown encoder settings.
    """
    from model.unified.build import build_encoder
    from model.weights.convert import prepare_weights
    from model.weights.random import random_weights

    if config.source == "random":
        paths = random_weights(home / "weights")
    elif config.source == "packages":
        paths = prepare_weights(home)
    else:
        from model.weights.hub import hub_weights

        paths = hub_weights(home, text=config.hub_text)
    encoder = build_encoder(paths, config.encoder, source=config.source, seed=config.seed)
    encoder.save(output)
    return {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "table_parameters": encoder.table.weight.numel(),
    }
