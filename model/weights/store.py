"""Converted weights on disk: one directory per source with ``model.safetensors``, ``config.json`` and, for text,
``tokenizer.json``; ``digests.json`` is written last and tells that the directory is complete.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import ArtifactError
from model.integrity import file_digest

if TYPE_CHECKING:
    from torch import Tensor

MODEL, CONFIG, TOKENIZER, DIGESTS = "model.safetensors", "config.json", "tokenizer.json", "digests.json"


@dataclass(frozen=True)
class WeightPaths:
    """Directories of the converted weights, one per pretrained part."""

    text: Path
    image: Path
    audio: Path


def make_once(directory: Path, fill: Callable[[Path], None]) -> Path:
    """Let ``fill`` write into a temporary directory and move it to ``directory``, unless that is complete already.

    Two processes may do this at once: both fill, one move wins, and the contents are equal.
    """
    if is_complete(directory):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        fill(temporary)
        digests = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        (temporary / DIGESTS).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        for path in temporary.iterdir():  # safetensors writes private files; these may be shared
            path.chmod(0o644)
        if directory.exists() and not is_complete(directory):
            shutil.rmtree(directory)
        try:
            temporary.rename(directory)
        except OSError:
            if not is_complete(directory):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def is_complete(directory: Path) -> bool:
    """Whether every file named in ``digests.json`` is there and not empty; :func:`verify` compares the digests."""
    try:
        digests = json.loads((directory / DIGESTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((directory / name).is_file() and (directory / name).stat().st_size > 0 for name in digests)


def verify(directory: Path) -> None:
    """Check every file against its recorded digest.

    Raises:
        ArtifactError: naming the first damaged or missing file and how to make the directory anew.
    """
    if not is_complete(directory):
        raise ArtifactError(f"{directory} is missing or incomplete; `prepare_weights` makes it anew")
    for name, expected in json.loads((directory / DIGESTS).read_text(encoding="utf-8")).items():
        found = file_digest(directory / name)
        if found != expected:
            raise ArtifactError(
                f"{directory / name} has SHA-256 {found}, expected {expected}; delete {directory} to convert it again"
            )


def write_state(directory: Path, state: Mapping[str, "Tensor"], config: Mapping[str, Any]) -> None:
    """Write a state dict and its config."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in state.items()}, directory / MODEL, {"format": "pt"})
    (directory / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_state(directory: Path) -> dict[str, "Tensor"]:
    """Read the state dict of a converted directory, in fp32 (a half-precision embedding table is widened).

    Raises:
        ArtifactError: the directory is incomplete or the file is unreadable.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not is_complete(directory):
        raise ArtifactError(f"{directory} holds no complete weights; `prepare_weights` makes them")
    try:
        state = load_file(directory / MODEL)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{directory / MODEL} is unreadable: {error}; delete {directory} to convert again"
        ) from error
    return {name: t.float() if t.dtype == torch.float16 else t for name, t in state.items()}


def load_config(directory: Path) -> dict[str, Any]:
    """Read ``config.json`` of a converted directory.

    Raises:
        ArtifactError: it is missing or not JSON.
    """
    try:
        config: dict[str, Any] = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{directory / CONFIG} is unreadable: {error}") from error
    return config
