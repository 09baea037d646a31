"""What goes into a soup: the weights after a stage, along its run and before it, and those of other runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from model.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from model.training.families import TorchEncoder
    from model.training.soup import Ingredient

# What stages may change; the rest of a unified encoder (towers, word embeddings) has to be equal in all ingredients.
LEARNED = ("trunk.", "head.", "projectors.", "model.")


def gather(encoder: "TorchEncoder", base: Path, model: Path, others: Sequence[Path]) -> "list[Ingredient]":
    """Ingredients, each over all parameter names that stages may change.

    Args:
        encoder: of ``model``.
        base: artifact before the stage.
        model: artifact after it, with ``snapshots/`` along its run.
        others: artifacts of other runs.

    Raises:
        ConfigError: one of ``others`` is not there, or has other towers, word embeddings, names or shapes.
    """
    from safetensors.torch import load_file

    from model.artifact import load_encoder
    from model.training.soup import Ingredient

    final = learned(encoder)
    before = learned(cast("TorchEncoder", load_encoder(base)))
    found = [Ingredient("finetuned", final, "the stage"), Ingredient("base", before, "before the stage")]
    for path in sorted((model / "snapshots").glob("*.safetensors")):
        found.append(Ingredient(f"step-{int(path.stem)}", {**final, **load_file(path)}, f"step {int(path.stem)}"))
    for number, place in enumerate(others, 1):
        if not place.is_dir():
            raise ConfigError(f"soup ingredient {place} is no directory here; give an absolute path to an artifact")
        other = cast("TorchEncoder", load_encoder(place))
        _same_lineage(encoder, other, place)
        found.append(Ingredient(f"run-{number}-{place.resolve().name}", learned(other), str(place)))
    return found


def learned(encoder: "TorchEncoder") -> "dict[str, Tensor]":
    """A copy of what stages may change."""
    return {n: p.detach().clone() for n, p in encoder.named_parameters() if n.startswith(LEARNED)}


def _same_lineage(encoder: "TorchEncoder", other: "TorchEncoder", place: Path) -> None:
    """Refuse weights that were never one with ours: their average would be noise."""
    import torch

    from model.unified.encoder import UnifiedEncoder

    ours, theirs = ({n: tuple(p.shape) for n, p in e.named_parameters()} for e in (encoder, other))
    odd = sorted(set(ours.items()) ^ set(theirs.items()))
    reason = f"parameter {odd[0][0]} is not the same" if odd else ""
    if not odd and isinstance(encoder, UnifiedEncoder) and isinstance(other, UnifiedEncoder):
        if encoder.tower_digest() != other.tower_digest():
            reason = "its towers are others"
        elif not torch.equal(encoder.table.weight, other.table.weight):
            reason = "its word embeddings are others"
    if reason:
        raise ConfigError(
            f"soup ingredient {place}: {reason}; ingredients have to come from one and the same initial model"
        )
