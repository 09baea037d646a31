"""Artifact of the sentence_transformer family: what the library writes, plus ``omnivec.json`` and digests.

Plain ``SentenceTransformer(path)`` loads it. Only safetensors and JSON are read; no code comes with a model.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.content import Modality
from model.errors import ArtifactError, ConfigError
from model.integrity import write_digests
from model.sentence_transformer.config import SentenceTransformerConfig
from model.sentence_transformer.processors import processors_loadable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SETTINGS = "omnivec.json"
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Towers that a model type can do without, by modality: the entry of its config that is set to null.
OPTIONAL_TOWERS: dict[str, dict[Modality, str]] = {
    "embedding_gemma2": {Modality.IMAGE: "vision_config", Modality.AUDIO: "audio_config"}
}


def load_model(
    directory: Path, config: SentenceTransformerConfig, modalities: frozenset[Modality] | None
) -> "SentenceTransformer":
    """Load a local model of the library on the processor, in evaluation mode.

    Raises:
        ArtifactError: weights that are no safetensors, an adapter without its base, custom code, or damaged files.
        ConfigError: a data type that corrupts this model.
    """
    from sentence_transformers import SentenceTransformer

    settings = check_files(directory)
    check_dtype(config.dtype, settings)
    towers = OPTIONAL_TOWERS.get(str(settings.get("model_type")), {})
    wanted = modalities | ({Modality.IMAGE} if Modality.VIDEO in modalities else frozenset()) if modalities else None
    dropped = {entry: None for modality, entry in towers.items() if wanted is not None and modality not in wanted}
    try:
        with processors_loadable():
            model = SentenceTransformer(
                str(directory),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": getattr(torch, config.dtype), "use_safetensors": True},
                config_kwargs=dropped or None,
            )
    except Exception as error:  # the libraries raise many kinds
        raise ArtifactError(f"sentence-transformers cannot load {directory}: {error}") from error
    if not isinstance(model[0], _transformer_module()):
        raise ArtifactError(
            f"{directory} starts with a {type(model[0]).__name__} module; the first has to be a Transformer"
        )
    return model.eval()


def _transformer_module() -> type:
    from sentence_transformers.base.modules.transformer import Transformer

    found: type = Transformer
    return found


def check_files(directory: Path) -> dict[str, Any]:
    """Check what a directory brings before any library opens it; returns its ``config.json``.

    Raises:
        ArtifactError: naming the file and the way out.
    """
    if (directory / "adapter_config.json").is_file():
        raise ArtifactError(f"{directory} holds a peft adapter: merge it into its base model and save that")
    files = [p for p in directory.rglob("*") if p.is_file()]
    for path in files:
        beside = any(p.suffix == ".safetensors" and p.parent == path.parent for p in files)
        if path.suffix in PICKLED and path.name != "training_args.bin" and not beside:
            raise ArtifactError(
                f"{path} is pickled and has no .safetensors beside it: convert it, pickles can run code"
            )
    configs = sorted(directory.glob("config.json")) or sorted(directory.glob("*/config.json"))
    try:
        found: dict[str, Any] = next(d for p in configs if "model_type" in (d := json.loads(p.read_text("utf-8"))))
    except (StopIteration, OSError, ValueError) as error:
        raise ArtifactError(f"{directory} has no config.json of a transformers model ({error!r})") from error
    return found


def check_dtype(dtype: str, settings: dict[str, Any]) -> None:
    """Refuse half precision where it is known to give NaN.

    Raises:
        ConfigError: float16 for a Gemma-type model.
    """
    parts = [settings, *(v for k, v in settings.items() if k.endswith("_config") and isinstance(v, dict))]
    if dtype == "float16" and any("gemma" in str(part.get("model_type", "")) for part in parts):
        raise ConfigError(
            f"dtype=float16 overflows in {settings['model_type']} (its vectors become NaN): use bfloat16 or float32"
        )


def read_settings(directory: Path) -> SentenceTransformerConfig:
    """The ``omnivec.json`` of an artifact; raises ArtifactError when there is none."""
    if not (directory / SETTINGS).is_file():
        raise ArtifactError(f"{directory} lacks {SETTINGS}: make an artifact of it with the init_model step first")
    return SentenceTransformerConfig.parse(directory / SETTINGS)


def save_model(model: "SentenceTransformer", config: SentenceTransformerConfig, directory: Path) -> None:
    """Write the artifact into ``directory`` (created, must be empty)."""
    directory.mkdir(parents=True, exist_ok=True)
    # The state that its last call left in a fast tokenizer would be saved as its default.
    if (backend := getattr(model.tokenizer, "backend_tokenizer", None)) is not None:
        backend.no_truncation()
        backend.no_padding()
    model.save(str(directory), create_model_card=False, safe_serialization=True)
    (directory / SETTINGS).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_digests(directory)
