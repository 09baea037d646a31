"""Offline encoding of many contents: sorted by length, batched by a token budget, in the order given.

Shape legend: N contents, D dimensions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality
from model.encoder import Encoder
from model.errors import CapabilityError, ContentError
from model.matryoshka import truncate
from model.parallel import side_by_side
from model.progress import progress

# The work of a small image tower on one picture, in trunk tokens.
MEDIA_COST = 32


def encode_contents(
    encoder: Encoder,
    contents: Sequence[Content],
    *,
    dimension: int | None = None,
    max_batch_tokens: int = 512,
    desc: str = "embed",
) -> NDArray[np.float32]:
    """Embed contents to unit vectors, shape [N, D] (or [N, dimension], renormalised).

    Args:
        encoder: any encoder; a torch result or a numpy result is accepted.
        contents: what to embed.
        dimension: Matryoshka prefix to keep.
        max_batch_tokens: padded tokens per batch, all modalities together.
        desc: label of the progress report; empty for silence.

    Raises:
        ContentError: a content cannot be embedded; nothing is skipped silently.
    """
    if not contents:
        return np.zeros((0, dimension or encoder.dimensions[0]), dtype=np.float32)
    vectors: list[NDArray[np.float32] | None] = [None] * len(contents)
    lengths = [batch_cost(encoder.count_tokens(c)) for c in contents]
    batches = list(plan_batches(lengths, max_batch_tokens))
    found = run_batches(encoder, ([contents[i] for i in members] for members in batches))
    done = zip(batches, found, strict=True)
    for members, rows in progress(done, total=len(batches), desc=desc, unit="batch") if desc else done:
        for i, vector in zip(members, rows, strict=True):
            vectors[i] = vector
    stacked_ND = np.stack([v for v in vectors if v is not None])
    return truncate(stacked_ND, dimension) if dimension else stacked_ND


def batch_cost(counts: Mapping[Modality, int]) -> int:
    """What a content counts against the token budget of a batch, from its tokens by modality.

    Media count for more than their few tokens, or hundreds of pictures would wait in one batch on one core.
    """
    return sum(max(count, MEDIA_COST) if modality is not Modality.TEXT else count for modality, count in counts.items())


def run_batches(encoder: Encoder, batches: Iterable[Sequence[Content]]) -> Iterator[NDArray[np.float32]]:
    """Embed batches without gradients, in order, one on each core where that is faster."""
    return iter(_spread(encoder)(partial(run_batch, encoder), batches))


def each_batch(
    encoder: Encoder, batches: Iterable[Sequence[Content]]
) -> Iterator[list[NDArray[np.float32] | ContentError | CapabilityError]]:
    """As :func:`run_batches`, but a bad content gives its error, and its neighbours their vectors."""
    return iter(_spread(encoder)(partial(_tolerant, encoder), batches))


def _spread(encoder: Encoder) -> Callable[..., Iterable[Any]]:
    """How to go over batches: a torch module on a processor, or graphs on one thread each, run one on each core."""
    return side_by_side if on_processor(encoder) or getattr(encoder, "threads", 0) == 1 else map


def _tolerant(
    encoder: Encoder, contents: Sequence[Content]
) -> list[NDArray[np.float32] | ContentError | CapabilityError]:
    try:
        return list(run_batch(encoder, contents))
    except (ContentError, CapabilityError) as error:
        if len(contents) == 1:
            return [error]
    return [found for content in contents for found in _tolerant(encoder, [content])]


def on_processor(encoder: Encoder) -> bool:
    """Whether ``encoder`` is a torch module whose weights lie in main memory."""
    weights = getattr(encoder, "parameters", None)
    return weights is not None and all(weight.device.type == "cpu" for weight in weights())


def run_batch(encoder: Encoder, contents: Sequence[Content]) -> NDArray[np.float32]:
    """Embed one batch without gradients, shape [N, D]."""
    batch = encoder.preprocess(contents)
    if not hasattr(encoder, "parameters"):  # not a torch module
        return np.asarray(encoder(batch), dtype=np.float32)
    import torch

    with torch.inference_mode():
        return encoder(batch).cpu().numpy()


def plan_batches(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Group indices of similar length so that ``longest * members`` stays within the budget (one item always fits)."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
