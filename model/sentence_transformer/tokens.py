"""How many tokens of the sequence each modality of a content occupies, read off what the processor made.

Shape legend: N contents, L sequence positions.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from torch import Tensor

from model.content import Modality

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MARKERS = {Modality.IMAGE: "image_token_id", Modality.VIDEO: "video_token_id", Modality.AUDIO: "audio_token_id"}
SOUND_KEYS = ("input_features", "input_values")


def tokens_of_rows(
    model: "SentenceTransformer", features: dict[str, Any], pictures: Sequence[Sequence[Modality]]
) -> list[dict[Modality, int]]:
    """Tokens by modality of every content of a group; special tokens and marks around media count as text.

    Args:
        model: gives the ids that stand for media.
        features: output of the processor.
        pictures: for every content the modality of each picture in it, in order.
    """
    if "input_ids" not in features:
        return [_tower_tokens(model, features, own) for own in pictures]
    ids_NL: Tensor = features["input_ids"]
    mask_NL = features.get("attention_mask")
    rows = []
    for i, own in enumerate(pictures):
        ids = ids_NL[i].tolist() if mask_NL is None else ids_NL[i][mask_NL[i].bool()].tolist()
        rows.append(_sequence_tokens(ids, _marker_ids(model), own))
    return rows


def _marker_ids(model: "SentenceTransformer") -> dict[int, Modality]:
    found = {}
    for modality, name in MARKERS.items():
        value = getattr(model[0].processor, name, None) or getattr(model[0].config, name, None)
        if isinstance(value, int):
            found[value] = modality
    return found


def _sequence_tokens(ids: list[int], markers: dict[int, Modality], pictures: Sequence[Modality]) -> dict[Modality, int]:
    counts = {Modality.TEXT: 0}
    seen = 0
    for modality, run in groupby(ids, key=lambda token: markers.get(token, Modality.TEXT)):
        length = len(list(run))
        if modality is Modality.IMAGE:  # a run is one picture, which may be a frame of a clip
            modality = pictures[min(seen, len(pictures) - 1)] if pictures else modality  # noqa: PLW2901
            seen += 1
        counts[modality] = counts.get(modality, 0) + length
    return counts


def _tower_tokens(
    model: "SentenceTransformer", features: dict[str, Any], pictures: Sequence[Modality]
) -> dict[Modality, int]:
    """A tower without a token sequence: positions of its pictures (patches, class token), frames of its sound."""
    if "pixel_values" in features:
        return {pictures[0]: picture_positions(model, features["pixel_values"])}
    for key in SOUND_KEYS:
        if key in features:
            return {Modality.AUDIO: int(features[key].shape[-1])}
    return {Modality.TEXT: 0}


def picture_positions(model: "SentenceTransformer", pixels: Tensor) -> int:
    """Positions that the vision tower has for a picture: those of its embedding table, else whole patches."""
    for module in model[0].model.modules():
        if isinstance(positions := getattr(module, "num_positions", None), int) and hasattr(module, "patch_embedding"):
            return positions
    settings = getattr(model[0].config, "vision_config", model[0].config)
    patch = getattr(settings, "patch_size", 1)
    return int((pixels.shape[-2] // patch) * (pixels.shape[-1] // patch))
