"""Initial weights from a model hub: safetensors and JSON files only, no code, converted to the layout of the packages.

A path of a local directory with the same files works in place of a hub id.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ArtifactError
from model.towers.config import WhisperConfig
from model.weights.convert import prepare_part
from model.weights.store import CONFIG, MODEL, TOKENIZER, WeightPaths, make_once, write_state

if TYPE_CHECKING:
    from torch import Tensor

WORD_TABLE = "embeddings.word_embeddings.weight"
BERT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "hidden_act",
    "pad_token_id",
)
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
    audio: str = "openai/whisper-tiny.en",
    revision: str | None = None,
) -> WeightPaths:
    """Fetch and convert a BERT-type text encoder and a Whisper encoder; the image tower is the packaged one.

    Args:
        home: converted weights go to ``<home>/weights``, downloads to ``<home>/downloads/hub``.
        text: hub id or local directory of a model whose ``model_type`` is ``bert`` with a fast tokenizer.
        audio: hub id or local directory of a Whisper model.
        revision: commit of the text model; pin it for a run that must be reproducible.

    Raises:
        ArtifactError: the hub cannot be reached, files are missing, or the model is of another type.
    """
    return WeightPaths(
        text=_convert(home, text, revision, _text, (MODEL, CONFIG, TOKENIZER)),
        image=prepare_part("image", home),
        audio=_convert(home, audio, None, _audio, (MODEL, CONFIG)),
    )


def _convert(
    home: Path, source: str, revision: str | None, fill: Callable[[Path, Path], None], files: tuple[str, ...]
) -> Path:
    label = re.sub(r"[^\w.-]+", "--", f"{source}@{revision}" if revision else source).strip("-")

    def fetch_and_fill(directory: Path) -> None:
        sys.stderr.write(f"weights: {source} from the model hub\n")
        snapshot = _snapshot(home, source, revision, files)
        missing = [name for name in files if not (snapshot / name).is_file()]
        if missing:
            raise ArtifactError(f"{source} has no {', '.join(missing)}; Omnivec reads safetensors and JSON only")
        fill(snapshot, directory)

    return make_once(home / "weights" / f"hub-{label}", fetch_and_fill)


def _snapshot(home: Path, source: str, revision: str | None, files: tuple[str, ...]) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            source, revision=revision, allow_patterns=list(files), cache_dir=home / "downloads" / "hub"
        )
    except Exception as error:  # the client raises its own, HTTP and OS errors
        raise ArtifactError(
            f"cannot fetch {source} from the model hub: {error}. If this machine has no access to one, use "
            "`--set model.weights.source=packages`, or give a local directory with "
            f"{', '.join(files)} in place of the id"
        ) from error
    return Path(found)


def _read(snapshot: Path, model_type: str) -> tuple[dict[str, Any], "dict[str, Tensor]"]:
    from safetensors.torch import load_file

    try:
        config = json.loads((snapshot / CONFIG).read_text(encoding="utf-8"))
        state = load_file(snapshot / MODEL)
    except Exception as error:
        raise ArtifactError(f"{snapshot} is unreadable: {error}") from error
    if config.get("model_type") != model_type:
        raise ArtifactError(f"{snapshot} holds a {config.get('model_type')!r} model, expected {model_type!r}")
    return config, state


def _text(snapshot: Path, directory: Path) -> None:
    config, state = _read(snapshot, "bert")
    kept = {
        name.removeprefix("bert."): tensor.float()
        for name, tensor in state.items()
        if "pooler." not in name and "position_ids" not in name and not name.startswith("cls.")
    }
    kept[WORD_TABLE] = kept[WORD_TABLE].half()
    fields = {name: config[name] for name in BERT_FIELDS if name in config}
    write_state(directory, kept, {"model_type": "bert", **fields})
    (directory / TOKENIZER).write_bytes((snapshot / TOKENIZER).read_bytes())


def _audio(snapshot: Path, directory: Path) -> None:
    config, state = _read(snapshot, "whisper")
    kept = {
        name.removeprefix("model.").removeprefix("encoder."): tensor.float()
        for name, tensor in state.items()
        if name.removeprefix("model.").startswith("encoder.")
    }
    tower = WhisperConfig.parse({ours: config[theirs] for ours, theirs in WHISPER_FIELDS.items()})
    write_state(directory, kept, tower.model_dump(mode="json"))
