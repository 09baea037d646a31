"""What is known about the members of a batch: which document is whose, and the ids from which masks are made."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from data.records import ContentRef, Example
from data.sampling import Draw
from model.content import Content, content_digest, media_digest
from model.losses.config import LossConfig
from model.losses.pairing import Pairing


@dataclass(frozen=True)
class Members:
    """Contents of a batch; ``owners`` names for each document its query, ``positive`` tells what it is to it."""

    queries: list[Content]
    documents: list[Content]
    owners: list[int]
    positive: list[bool]


def members_of(draw: Draw, examples: Sequence[Example]) -> Members:
    """The drawn positive of each query in order, then further positives, then hard negatives."""
    first = [e.positives[i] for e, i in zip(examples, draw.positives, strict=True)]
    extra, hard = [], []
    for row, (example, place) in enumerate(zip(examples, draw.positives, strict=True)):
        count = min(draw.task.positives, len(example.positives))
        extra += [(row, example.positives[(place + i) % len(example.positives)]) for i in range(1, count)]
        hard += [(row, content) for content in example.negatives[: draw.task.hard_negatives]]
    rest = [*extra, *hard]
    return Members(
        queries=[e.query for e in examples],
        documents=[*first, *(content for _, content in rest)],
        owners=[*range(len(first)), *(row for row, _ in rest)],
        positive=[True] * (len(first) + len(extra)) + [False] * len(hard),
    )


def stored_members_of(draw: Draw) -> Members:
    """The same of records: contents as they are stored, so that no media are read."""
    return members_of(draw, draw.records)  # type: ignore[arg-type] # records have the fields of examples


@lru_cache(maxsize=2**18)
def digest_of(ref: ContentRef, task: str | None) -> str:
    """``Content.digest`` of a stored content, without its bytes."""
    return content_digest([(p.modality, p.media or media_digest((p.text or "").encode())) for p in ref], task)


def pairing_of(draw: Draw, members: Members, loss: LossConfig, *, stored: bool = False) -> Pairing:
    """Ids for the loss: equal contents, groups and classes have equal ids, in every process and every step.

    Args:
        draw: a batch.
        members: its contents, or with ``stored`` as :func:`stored_members_of` has them.
        loss: says which labels there are.
        stored: whether they are stored contents; the ids are the same.
    """
    identity: Callable[[Any], str] = (lambda ref: digest_of(ref, None)) if stored else _identity
    query_key_N = _ids(identity(c) for c in members.queries)
    document_key_M = _ids(identity(c) for c in members.documents)
    owner_M = torch.tensor(members.owners)
    group_N = _ids(r.group for r in draw.records)
    labels = {
        "none": (None, None),
        "group": (group_N, group_N[owner_M]),
        "positive": (document_key_M[: len(query_key_N)], document_key_M),
    }[loss.false_negatives.labels]
    return Pairing.of(
        owner_M,
        torch.tensor(members.positive),
        len(query_key_N),
        query_key_N=query_key_N,
        document_key_M=document_key_M,
        group_N=group_N,
        group_M=group_N[owner_M],
        label_N=labels[0],
        label_M=labels[1],
    )


def _identity(content: Content) -> str:
    """Digest of what a content says, whatever prefix it goes in with."""
    return content.digest if content.task is None else replace(content, task=None).digest


def _ids(names: Iterable[str]) -> torch.Tensor:
    """The first 63 bits of a hash: never negative, the same in every process."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests])
