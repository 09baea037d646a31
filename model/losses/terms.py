"""From embeddings to the logits of the anchor pairs and the sums over their negatives, term by term.

Shape legend: N queries, M documents, P anchor pairs (positives), D dimensions, K Matryoshka prefixes, R rows,
C columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.losses.config import LossConfig, Term
from model.losses.gather import Counts, gather_rows, sum_over_processes
from model.losses.masks import Masks, Rules
from model.losses.own import own_cosines, own_sums
from model.losses.pairing import Pairing
from model.losses.sums import Sums, pair_sums
from model.losses.tiles import Block, Listed

NOTHING = -1e6  # exp() of it is zero beside any logit; finite, so that no gradient is undefined


class Terms:
    """One evaluation of the loss over one batch; arguments as in :func:`model.losses.contrastive.contrastive_loss`."""

    def __init__(
        self,
        query_ND: Tensor,
        document_MD: Tensor,
        pairing: Pairing,
        config: LossConfig,
        temperature: float | Tensor,
        dimensions: Sequence[int],
        tile: int | None,
        counts: Counts,
    ) -> None:
        self.dtype = torch.float64 if query_ND.dtype == torch.float64 else torch.float32
        self.query_ND, self.document_MD, self.pairing, self.config = query_ND, document_MD, pairing, config
        self.prefixes = tuple(sorted(set(dimensions)))
        self.tile = tile
        self.scale = 1 / torch.as_tensor(temperature, dtype=self.dtype, device=query_ND.device)
        self.strength = config.hardness.strength if config.hardness else 0.0
        self.bound = 1.001 * self.scale.item() + self.strength
        self.counts = counts if config.negatives == "everywhere" else counts.alone()
        self.masks = Masks(pairing, config.false_negatives, self.counts, query_ND.device)
        self.anchors_P = pairing.positive_M.nonzero().flatten().to(query_ND.device)
        self.owner_M = pairing.owner_M.to(query_ND.device)
        self.limit_N: Tensor | None
        self.limit_M: Tensor | None
        self.limit_N, self.limit_M = self._limits()

    def evaluate(self) -> tuple[Tensor, dict[Term, Tensor], Tensor]:
        """Logits of the anchor pairs [K, P], logarithms of the sums of each term [K, P], best negative's logit [P]."""
        owner_P = self.owner_M[self.anchors_P]
        found = self._query_document()
        sums: dict[Term, Tensor] = {"query_to_document": found.row_KR[:, owner_P]}
        if "document_to_query" in self.config.terms:
            column_KC = found.column_KC if self.counts.single else sum_over_processes(found.column_KC)
            sums["document_to_query"] = column_KC[:, self.counts.first_document + self.anchors_P]
        if "query_to_query" in self.config.terms:
            sums["query_to_query"] = self._query_query()[:, owner_P]
        if "document_to_document" in self.config.terms:
            sums["document_to_document"] = self._document_document()
        logs = {term: _log(sums[term]).to(self.dtype) for term in self.config.terms}
        return found.listed_KE[:, self.anchors_P], logs, found.best_R[owner_P].log().to(self.dtype)

    def _query_document(self) -> Sums:
        listed, rules = self.masks.query_document()
        limits = None if self.limit_N is None or self.limit_M is None else (self.limit_N, self.limit_M)
        columns = "document_to_query" in self.config.terms
        if self.config.negatives == "own":
            return own_sums(self.query_ND, self.document_MD, self.scale, self._block(listed, (), limits, columns))
        if limits is not None:
            limits = (limits[0], gather_rows(limits[1], self.counts.documents))
        every_MD = gather_rows(self.document_MD, self.counts.documents)
        return pair_sums(self.query_ND, every_MD, self.scale, self._block(listed, rules, limits, columns))

    def _query_query(self) -> Tensor:
        every_ND = gather_rows(self.query_ND, self.counts.queries)
        return self._within(self.query_ND, every_ND, self.limit_N, *self.masks.query_query())

    def _document_document(self) -> Tensor:
        whole = len(self.anchors_P) == len(self.document_MD)
        positive_PD = self.document_MD if whole else self.document_MD[self.anchors_P]
        every_MD = gather_rows(self.document_MD, self.counts.documents)
        limit_P = None if self.limit_M is None else self.limit_M[self.anchors_P]
        return self._within(positive_PD, every_MD, limit_P, *self.masks.document_document())

    def _within(
        self, row_RD: Tensor, column_CD: Tensor, limit_R: Tensor | None, listed: Listed, rules: Rules
    ) -> Tensor:
        """Sums over pairs of one kind, where each pair occurs twice if rows and columns are the same."""
        same = row_RD is column_CD
        limits = None
        if limit_R is not None:
            limits = (limit_R, limit_R if same else limit_R.new_full((len(column_CD),), torch.inf))
        block = self._block(listed, rules, limits, columns=False, symmetric=same)
        return pair_sums(row_RD, column_CD, self.scale, block).row_KR

    def _block(
        self,
        listed: Listed,
        rules: Rules,
        limits: tuple[Tensor, Tensor] | None,
        columns: bool,
        symmetric: bool = False,
    ) -> Block:
        weight = 1 + self.strength / self.scale.detach()
        on = self.config.hardness.on if self.config.hardness else None
        boosts = (weight if on in ("in_batch", "all") else None, weight if on in ("hard", "all") else None)
        return Block(self.prefixes, listed, self.bound, rules, limits, boosts, columns, symmetric, self.tile)

    def _limits(self) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Logit above which a pair is taken for a false negative, for each query and for each document."""
        margin, ratio = self.config.false_negatives.margin, self.config.false_negatives.ratio
        if margin is None and ratio is None:
            return None, None
        cosine_M = own_cosines(self.query_ND, self.document_MD, self.owner_M, self.prefixes[-1:])[0]
        cosine_P = cosine_M[self.anchors_P]
        best_N = cosine_M.new_full((len(self.query_ND),), -torch.inf)
        best_N = best_N.scatter_reduce(0, self.owner_M[self.anchors_P], cosine_P, "amax")
        limit_M = torch.full_like(cosine_M, torch.inf)
        limit_M[self.anchors_P] = _limit(cosine_P, margin, ratio) * self.scale.detach()
        return _limit(best_N, margin, ratio) * self.scale.detach(), limit_M


def _limit(cosine: Tensor, margin: float | None, ratio: float | None) -> Tensor:
    limit = torch.full_like(cosine, torch.inf)
    if margin is not None:
        limit = torch.minimum(limit, cosine + margin)
    if ratio is not None:
        limit = torch.minimum(limit, cosine - (1 - ratio) * cosine.abs())
    return limit


def _log(sum_KP: Tensor) -> Tensor:
    """Logarithm; a very small number without gradient where nothing was summed."""
    return torch.where(sum_KP > 0, sum_KP.clamp_min(torch.finfo(sum_KP.dtype).tiny).log(), NOTHING)
