"""The artifact of the unified family: one safetensors file per part, JSON beside it, digests over all.

Parts are separate files so that a text-only load never reads a tower and frozen parts can be shared by hard links.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from model.content import Modality
from model.errors import ArtifactError
from model.files import link_or_copy
from model.integrity import write_digests
from model.unified.config import UnifiedConfig
from model.unified.portable import write_portable

if TYPE_CHECKING:
    from model.unified.encoder import UnifiedEncoder


def split_state(encoder: "UnifiedEncoder") -> dict[str, dict[str, Tensor]]:
    """State dict by artifact part; the image tower is written once though pictures and clips share it."""
    parts: dict[str, dict[str, Tensor]] = {
        "table": encoder.table.state_dict(),
        "trunk": encoder.trunk.state_dict(),
        "head": encoder.head.state_dict(),
        "projectors": encoder.projectors.state_dict(),
    }
    for part, names in (("image_tower", ("image", "video")), ("audio_tower", ("audio",))):
        for name in names:
            if name in encoder.frontends:
                parts[part] = encoder.frontends[name].tower.state_dict()  # type: ignore[union-attr]
                break
    return parts


def save_unified(encoder: "UnifiedEncoder", directory: Path) -> None:
    """Write config, tokenizer, weights and digests of ``encoder`` into ``directory`` (created, must be empty).

    Beside them lies the modelling file by which plain sentence-transformers opens the artifact.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(encoder.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (directory / "tokenizer.json").write_text(encoder.preprocessor.tokenizer_json, encoding="utf-8")
    for part, state in split_state(encoder).items():
        if state:
            contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
            path = directory / f"{part}.safetensors"
            save_file(contiguous, path)
            shutil.copymode(directory / "config.json", path)  # safetensors writes for the owner alone
    write_portable(encoder.config, directory)
    write_digests(directory)


def load_unified(
    cls: "type[UnifiedEncoder]", directory: Path, modalities: frozenset[Modality] | None
) -> "UnifiedEncoder":
    """Read an artifact; raises ArtifactError when a file is missing or its keys do not fit."""
    from safetensors.torch import load_file

    config = UnifiedConfig.parse(directory / "config.json")
    tokenizer_json = (directory / "tokenizer.json").read_text(encoding="utf-8")
    encoder = cls(config, tokenizer_json, modalities=modalities)
    modules = {
        "table": [encoder.table],
        "trunk": [encoder.trunk],
        "head": [encoder.head],
        "image_tower": [encoder.frontends[n].tower for n in ("image", "video") if n in encoder.frontends],
        "audio_tower": [encoder.frontends[n].tower for n in ("audio",) if n in encoder.frontends],
    }
    for part, targets in modules.items():
        if targets:
            path = directory / f"{part}.safetensors"
            if not path.is_file():
                raise ArtifactError(f"{directory} lacks {path.name}; the artifact is incomplete, fetch it again")
            state = load_file(path)
            for target in targets:
                target.load_state_dict(state)
    if encoder.projectors:
        state = load_file(directory / "projectors.safetensors")
        encoder.projectors.load_state_dict({k: v for k, v in state.items() if k.split(".")[0] in encoder.projectors})
    return encoder.eval()


def clone_artifact(source: Path, target: Path) -> None:
    """Copy an artifact by hard links where the file system allows, else by copies."""
    shutil.copytree(source, target, copy_function=link_or_copy)
