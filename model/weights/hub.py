"""Initial weights from a model hub: safetensors and JSON files only, no code, converted to the layout of the packages.

A path of a local directory with the same files works in place of a hub id; ``id@commit`` pins a revision.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ArtifactError, ConfigError
from model.pretrained import clean_document, model_arguments, model_class, transformers_config
from model.towers.config import SpectrogramConfig, TowerConfig, VisionConfig, WaveformConfig, WhisperConfig
from model.weights.convert import prepare_part
from model.weights.store import CONFIG, TOKENIZER, WeightPaths, make_once, write_state

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

PROCESSOR = "preprocessor_config.json"
PATTERNS = ("*.safetensors", "*.safetensors.index.json", CONFIG, PROCESSOR, TOKENIZER)
# The part of a model of several parts, by what it is wanted for.
INNER_CONFIGS = {"text": "text_config", "image": "vision_config", "audio": "audio_config"}
WHISPER_FIELDS = {
    "mel_bands": "num_mel_bins",
    "width": "d_model",
    "layers": "encoder_layers",
    "heads": "encoder_attention_heads",
    "feed_forward": "encoder_ffn_dim",
    "max_positions": "max_source_positions",
}


def hub_weights(
    home: Path,
    *,
    text: str = "intfloat/multilingual-e5-small",
    image: str | None = None,
    audio: str = "openai/whisper-tiny.en",
) -> WeightPaths:
    """Fetch and convert a text encoder, a vision encoder and an audio encoder of transformers.

    Args:
        home: converted weights go to ``<home>/weights``, downloads to ``<home>/downloads/hub``.
        text: hub id (``id@commit`` pins it) or local directory of a bidirectional text encoder with a fast tokenizer.
        image: the same of a vision encoder, or of a model that holds one (SigLIP, CLIP); None takes the packaged one.
        audio: the same of a Whisper, Wav2Vec2-type or Audio Spectrogram Transformer model.

    Raises:
        ArtifactError: the hub cannot be reached, files are missing, or the model is of another type.
    """
    return WeightPaths(
        text=_convert(home, "text", text),
        image=prepare_part("image", home) if image is None else _convert(home, "image", image),
        audio=_convert(home, "audio", audio),
    )


def _convert(home: Path, part: str, source: str) -> Path:
    label = re.sub(r"[^\w.-]+", "--", f"{part}-{source}{_state_of(Path(source))}").strip("-")

    def fetch_and_fill(directory: Path) -> None:
        sys.stderr.write(f"weights: {part} from {source}\n")
        snapshot = _snapshot(home, source)
        needed = (CONFIG, TOKENIZER) if part == "text" else (CONFIG,)
        missing = [name for name in needed if not (snapshot / name).is_file()]
        if not any(snapshot.glob("*.safetensors")):
            missing.append("model.safetensors")
        if missing:
            raise ArtifactError(f"{source} has no {', '.join(missing)}; Omnivec reads safetensors and JSON only")
        FILLERS[part](snapshot, directory)

    return make_once(home / "weights" / f"hub-{label}", fetch_and_fill)


def _state_of(directory: Path) -> str:
    """Mark of a local directory's files, so that a changed one is converted anew; empty for a hub id."""
    if not directory.is_dir():
        return ""
    files = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in directory.iterdir() if p.is_file())
    return "-" + hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]


def _snapshot(home: Path, source: str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    try:
        found = snapshot_download(
            name, revision=revision or None, allow_patterns=list(PATTERNS), cache_dir=home / "downloads" / "hub"
        )
    except Exception as error:  # the client raises its own, HTTP and OS errors
        raise ArtifactError(
            f"cannot fetch {source} from the model hub: {error}. If this machine has no access to one, use "
            f"`--set model.source=packages`, or give a local directory with {', '.join(PATTERNS)} in place of the id"
        ) from error
    return Path(found)


def _document(snapshot: Path, part: str) -> dict[str, Any]:
    """The configuration of ``part`` in a snapshot: the whole ``config.json`` or the section for the part."""
    document = _json(snapshot / CONFIG)
    inner = INNER_CONFIGS[part]
    if inner not in document:
        return clean_document(document)
    section = clean_document(document[inner])
    if "model_type" not in section:  # older files leave it to the class of the whole
        section["model_type"] = getattr(transformers_config(document), inner).model_type
    return section


def _load(snapshot: Path, document: dict[str, Any]) -> "PreTrainedModel":
    """Bare model of ``document`` with the weights of the snapshot; every one of its weights must be there."""
    import torch

    try:
        config = transformers_config(document)
        model, report = model_class(config).from_pretrained(
            str(snapshot),
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **model_arguments(config),
        )
    except Exception as error:  # transformers and safetensors raise many kinds
        raise ArtifactError(f"{snapshot} cannot be read as {document.get('model_type')!r}: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ArtifactError(
            f"{snapshot} lacks {len(missing)} weights of a {document['model_type']!r} model, such as {missing[:3]}"
        )
    found: PreTrainedModel = model
    return found.eval()


def _text(snapshot: Path, directory: Path) -> None:
    from model.unified.trunk import table_name

    document = _document(snapshot, "text")
    model = _load(snapshot, document)
    state: dict[str, Tensor] = dict(model.state_dict())
    name = table_name(model)
    state[name] = state[name].half()
    if not state[name].isfinite().all():
        raise ArtifactError(f"{snapshot}: word embeddings exceed half precision, in which Omnivec keeps them")
    write_state(directory, state, document)
    (directory / TOKENIZER).write_bytes((snapshot / TOKENIZER).read_bytes())


def _image(snapshot: Path, directory: Path) -> None:
    from model.towers.vision import Vision

    document, processor = _document(snapshot, "image"), _json(snapshot / PROCESSOR)
    scale = processor.get("rescale_factor", 1 / 255)
    if not processor.get("do_rescale", True) or abs(scale * 255 - 1) > 1e-3:
        raise ArtifactError(f"{snapshot}: pixels must be scaled by 1/255, {PROCESSOR} says {scale}")
    plain = not processor.get("do_normalize", True)
    config = VisionConfig(
        model=document,
        mean=(0.0, 0.0, 0.0) if plain else _three(processor, "image_mean"),
        std=(1.0, 1.0, 1.0) if plain else _three(processor, "image_std"),
    )
    tower = Vision(config)
    tower.model.load_state_dict(_load(snapshot, document).state_dict())
    write_state(directory, tower.state_dict(), config.model_dump(mode="json"))


def _three(processor: dict[str, Any], name: str) -> tuple[float, float, float]:
    values = processor.get(name, [0.5, 0.5, 0.5])
    red, green, blue = values if isinstance(values, list) else [values] * 3
    return float(red), float(green), float(blue)


def _audio(snapshot: Path, directory: Path) -> None:
    from model.towers import build_tower

    document = _document(snapshot, "audio")
    try:
        make = AUDIO_CONFIGS.get(str(document.get("model_type")), _waveform)
        config = make(snapshot, document)
        tower = build_tower(config)
    except (ConfigError, KeyError) as error:
        raise ArtifactError(f"{snapshot} holds no audio encoder that Omnivec knows: {error}") from error
    state = _load(snapshot, document).state_dict()
    if isinstance(config, WhisperConfig):
        prefix = "encoder."
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    else:
        state = {f"model.{name}": tensor for name, tensor in state.items()}
    tower.load_state_dict(state)
    write_state(directory, tower.state_dict(), config.model_dump(mode="json"))


def _whisper(_snapshot: Path, document: dict[str, Any]) -> TowerConfig:
    return WhisperConfig.parse({ours: document[theirs] for ours, theirs in WHISPER_FIELDS.items()})


def _waveform(snapshot: Path, document: dict[str, Any]) -> TowerConfig:
    return WaveformConfig(model=document, normalise=_json(snapshot / PROCESSOR).get("do_normalize", True))


def _spectrogram(snapshot: Path, document: dict[str, Any]) -> TowerConfig:
    processor = _json(snapshot / PROCESSOR)
    return SpectrogramConfig(model=document, **{k: processor[k] for k in ("mean", "std") if k in processor})


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is unreadable: {error}") from error
    return found


FILLERS: dict[str, Callable[[Path, Path], None]] = {"text": _text, "image": _image, "audio": _audio}
AUDIO_CONFIGS: dict[str, Callable[[Path, dict[str, Any]], TowerConfig]] = {
    "whisper": _whisper,
    "audio-spectrogram-transformer": _spectrogram,
}
