"""Each document with the query that it was given for, and nothing else.

Shape legend: N queries, M documents, D dimensions, K Matryoshka prefixes.
"""

import torch
from torch import Tensor

from model.losses.sums import Sums
from model.losses.tiles import Block, inverse_norms, row_dots


@torch.no_grad()
def own_cosines(query_ND: Tensor, document_MD: Tensor, owner_M: Tensor, prefixes: tuple[int, ...]) -> Tensor:
    """Cosine of each document with its query at each prefix, without gradient; shape [K, M]."""
    dtype = torch.float64 if query_ND.dtype == torch.float64 else torch.float32
    norm_KN, norm_KM = (inverse_norms(x, prefixes, dtype) for x in (query_ND, document_MD))
    dots = [row_dots(document_MD[:, :d].to(dtype), query_ND[:, :d].to(dtype), owner_M) for d in prefixes]
    return torch.stack(dots) * norm_KM * norm_KN[:, owner_M]


def own_sums(query_ND: Tensor, document_MD: Tensor, scale: Tensor, block: Block) -> Sums:
    """As :func:`model.losses.sums.pair_sums`, over the listed pairs alone; time and memory O(M D)."""
    owner_M = block.listed.row_E.to(query_ND.device)
    negative_M = block.listed.negative_E.to(query_ND.device)
    dtype = scale.dtype
    cosines = [
        torch.cosine_similarity(query_ND[owner_M, :d].to(dtype), document_MD[:, :d].to(dtype), dim=1, eps=1e-24)
        for d in block.prefixes
    ]
    logit_KM = torch.stack(cosines) * scale
    boost = block.boosts[1]
    value_KM = logit_KM if boost is None else logit_KM + logit_KM.detach() * (boost - 1)
    if block.limits is not None:
        negative_M = negative_M & (logit_KM[-1].detach() <= block.limits[0][owner_M])
    weight_KM = value_KM.double().exp() * negative_M
    empty_KN = weight_KM.new_zeros(len(block.prefixes), len(query_ND))
    best_N = empty_KN[0].scatter_reduce(0, owner_M, weight_KM[-1].detach(), "amax")
    sums_KN = empty_KN.index_add(1, owner_M, weight_KM)
    return Sums(sums_KN, torch.zeros_like(weight_KM), logit_KM, best_N)
