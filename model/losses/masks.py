"""From ids to the pairs that are no negatives: listed pairs, and rules that a tile evaluates.

Shape legend: R rows, C columns, N queries, M documents, P positives, F ids of one item, E listed pairs.
"""

import torch
from torch import Tensor

from model.losses.config import FalseNegatives
from model.losses.gather import Counts, counts_of, gather_rows
from model.losses.pairing import UNKNOWN, Pairing
from model.losses.tiles import Listed

Rules = tuple[tuple[Tensor, Tensor], ...]
GROUP, LABEL, QUERY, KEYS = 0, 1, 2, 3
"""Columns of ids; the keys of positives go on to the end (of documents, to the one before the last)."""


class Masks:
    """Masks of this process's rows against the rows of all processes.

    Args:
        pairing: of this process.
        false_negatives: which rules hold.
        counts: rows to gather; of this process alone when only its own batch counts.
        device: where the tiles are computed.
    """

    def __init__(self, pairing: Pairing, false_negatives: FalseNegatives, counts: Counts, device: torch.device) -> None:
        self.pairing = pairing
        self.kinds = false_negatives
        self.counts = counts
        keys_NK = pairing.positive_keys()
        if not counts.single:
            width = max(w for (w,) in counts_of([keys_NK.shape[1]], device))
            keys_NK = torch.nn.functional.pad(keys_NK, (0, width - keys_NK.shape[1]), value=UNKNOWN)
        self.keys_NK = keys_NK
        self.query_NF = pairing.query_ids(keys_NK).to(device)
        self.document_MF = pairing.document_ids(keys_NK).to(device)
        self.all_query_NF = gather_rows(self.query_NF, counts.queries)
        self.all_document_MF = gather_rows(self.document_MF, counts.documents)

    def query_document(self) -> tuple[Listed, Rules]:
        """Queries against documents: each document is listed with its query."""
        pairing, kinds = self.pairing, self.kinds
        negative_M = ~pairing.positive_M
        if kinds.same_positive:
            known_M = pairing.document_key_M != UNKNOWN
            negative_M &= ~((self.keys_NK[pairing.owner_M] == pairing.document_key_M[:, None]).any(1) & known_M)
        if kinds.labels != "none":
            label_M = pairing.label_N[pairing.owner_M]
            negative_M &= (label_M != pairing.label_M) | (label_M == UNKNOWN)
        columns_M = torch.arange(len(pairing.owner_M)) + self.counts.first_document
        listed = Listed(pairing.owner_M, columns_M, negative_M)
        rows, columns = self.query_NF, self.all_document_MF
        pairs = [(key, columns.shape[1] - 1) for key in range(KEYS, rows.shape[1])]
        return listed, self._rules(rows, columns, pairs, listed)

    def query_query(self) -> tuple[Listed, Rules]:
        """Queries against queries: each is listed with itself."""
        rows_N = torch.arange(len(self.pairing.query_key_N))
        listed = Listed(rows_N, rows_N + self.counts.first_query, torch.zeros(len(rows_N), dtype=torch.bool))
        keys = range(KEYS, self.query_NF.shape[1])
        pairs = [(one, other) for one in keys for other in keys]
        return listed, self._rules(self.query_NF, self.all_query_NF, pairs, listed)

    def document_document(self) -> tuple[Listed, Rules]:
        """Positives against documents: each is listed with every document of its query."""
        owner_M = self.pairing.owner_M
        positive_P = self.pairing.positive_M.nonzero().flatten()
        owners_M, order_M = torch.sort(owner_M, stable=True)
        counts_N = torch.bincount(owners_M, minlength=len(self.pairing.query_key_N))
        starts_N = counts_N.cumsum(0) - counts_N
        repeats_P = counts_N[owner_M[positive_P]]
        row_E = torch.repeat_interleave(torch.arange(len(positive_P)), repeats_P)
        place_E = torch.arange(len(row_E)) - torch.repeat_interleave(repeats_P.cumsum(0) - repeats_P, repeats_P)
        column_E = order_M[starts_N[owner_M[positive_P]][row_E] + place_E] + self.counts.first_document
        listed = Listed(row_E, column_E, torch.zeros(len(row_E), dtype=torch.bool))
        rows, columns = self.document_MF[positive_P.to(self.document_MF.device)], self.all_document_MF
        own = rows.shape[1] - 1
        pairs = [pair for key in range(KEYS, own) for pair in ((key, own), (own, key))]
        return listed, self._rules(rows, columns, pairs, listed)

    def _rules(self, row_RF: Tensor, column_CF: Tensor, keys: list[tuple[int, int]], listed: Listed) -> Rules:
        kinds = self.kinds
        wanted = [
            *([(GROUP, GROUP)] if kinds.same_group else []),
            *([(LABEL, LABEL)] if kinds.labels != "none" else []),
            *([(QUERY, QUERY)] if kinds.same_query else []),
            *(keys if kinds.same_positive else []),
        ]
        found = (_rule(row_RF[:, one], column_CF[:, other], listed) for one, other in wanted)
        return tuple(rule for rule in found if rule is not None)


def _rule(row_R: Tensor, column_C: Tensor, listed: Listed) -> tuple[Tensor, Tensor] | None:
    """The two lists of ids in a small form, or None where they hide no pair but listed ones."""
    column_C = column_C.where(column_C != UNKNOWN, UNKNOWN - 1)
    _, ids = torch.unique(torch.cat([row_R, column_C]), return_inverse=True)
    row_R, column_C = ids[: len(row_R)], ids[len(row_R) :]
    size = int(ids.max()) + 1 if len(ids) else 0
    equal = (torch.bincount(row_R, minlength=size) * torch.bincount(column_C, minlength=size)).sum()
    apart = (row_R[listed.row_E.to(ids.device)] == column_C[listed.column_E.to(ids.device)]).sum()
    return (row_R.int(), column_C.int()) if int(equal) > int(apart) else None
