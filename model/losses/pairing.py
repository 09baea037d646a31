"""Which document was given for which query, and what is known about them: the source of every mask.

Shape legend: N queries, M documents, P positives, K largest number of positives of a query, F ids of one item.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from model.errors import ConfigError

UNKNOWN = -1
"""Id of what is not known; it equals nothing, not even itself."""


@dataclass(frozen=True)
class Pairing:
    """Ids of N queries and M documents as int64 on the CPU; ids mean the same in every process (hashes, not counters).

    Attributes:
        owner_M: row of the query that the document was given for, as a positive or as a hard negative.
        positive_M: whether it is a positive.
        query_key_N: equal for equal queries.
        document_key_M: equal for equal documents.
        group_N: leakage group of the query.
        group_M: leakage group of the document.
        label_N: class of the query.
        label_M: class of the document.
    """

    owner_M: Tensor
    positive_M: Tensor
    query_key_N: Tensor
    document_key_M: Tensor
    group_N: Tensor
    group_M: Tensor
    label_N: Tensor
    label_M: Tensor

    @classmethod
    def of(cls, owner_M: Tensor, positive_M: Tensor, queries: int, **ids: Tensor | None) -> Self:
        """Make a pairing in which ids that are not given are unknown."""
        names = {"query_key_N", "document_key_M", "group_N", "group_M", "label_N", "label_M"}
        sizes = {name: queries if name.endswith("_N") else len(owner_M) for name in names}
        filled = {n: torch.full((sizes[n],), UNKNOWN) if (v := ids.pop(n, None)) is None else v for n in sorted(names)}
        return cls(owner_M=owner_M, positive_M=positive_M, **filled, **ids)  # type: ignore[arg-type]

    @classmethod
    def in_order(cls, queries: int, documents: int | None = None) -> Self:
        """Document i is the positive of query i; documents beyond are hard negatives, dealt out in turn."""
        rows_M = torch.arange(queries if documents is None else documents)
        return cls.of(rows_M % max(queries, 1), rows_M < queries, queries)

    def check(self, queries: int, documents: int) -> None:
        """Refuse a pairing that does not fit N and M.

        Raises:
            ConfigError: sizes differ, an owner is out of range, or a query has no positive.
        """
        for name, ids in vars(self).items():
            expected = queries if name.endswith("_N") else documents
            if ids.shape != (expected,):
                raise ConfigError(f"pairing.{name} has shape {tuple(ids.shape)}; {queries} queries and {documents} "
                                  f"documents need ({expected},)")  # fmt: skip
        if documents and not (int(self.owner_M.min()) >= 0 and int(self.owner_M.max()) < queries):
            raise ConfigError(f"pairing.owner_M must lie in 0..{queries - 1}")
        without = torch.bincount(self.owner_M[self.positive_M], minlength=queries).eq(0).nonzero().flatten().tolist()
        if without:
            raise ConfigError(f"queries {without[:5]} of {queries} have no positive document; give each at least one")

    def positive_keys(self) -> Tensor:
        """Keys of each query's positives, filled up with UNKNOWN; shape [N, K]."""
        owner_P, key_P = self.owner_M[self.positive_M], self.document_key_M[self.positive_M]
        owner_P, order_P = torch.sort(owner_P, stable=True)
        counts_N = torch.bincount(owner_P, minlength=len(self.query_key_N))
        place_P = torch.arange(len(owner_P)) - (counts_N.cumsum(0) - counts_N)[owner_P]
        keys_NK = torch.full((len(counts_N), int(counts_N.max()) if len(counts_N) else 1), UNKNOWN)
        keys_NK[owner_P, place_P] = key_P[order_P]
        return keys_NK

    def query_ids(self, keys_NK: Tensor) -> Tensor:
        """Group, label, key and keys of positives of each query; shape [N, F]."""
        return torch.cat([torch.stack([self.group_N, self.label_N, self.query_key_N], 1), keys_NK], 1)

    def document_ids(self, keys_NK: Tensor) -> Tensor:
        """Group, label, key of the query and of its positives (positives only), own key; shape [M, F + 1]."""
        asked_M = torch.where(self.positive_M, self.query_key_N[self.owner_M], UNKNOWN)
        keys_MK = torch.where(self.positive_M[:, None], keys_NK[self.owner_M], UNKNOWN)
        return torch.cat(
            [torch.stack([self.group_M, self.label_M, asked_M], 1), keys_MK, self.document_key_M[:, None]], 1
        )
