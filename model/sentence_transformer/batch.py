"""What the sentence_transformer family hands to its network."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Group:
    """Contents that go through the network together: their places in the batch, and the processor's tensors."""

    rows: tuple[int, ...]
    features: dict[str, Any]


@dataclass(frozen=True)
class GroupedBatch:
    """N contents in groups of equal kind: text with text, pictures with pictures."""

    groups: tuple[Group, ...]
    count: int

    def __len__(self) -> int:
        return self.count
