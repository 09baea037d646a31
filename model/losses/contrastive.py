"""InfoNCE over in-batch and hard negatives, in both directions, at every Matryoshka prefix.

Shape legend: N queries, M documents (the N positives first, then hard negatives), D and d dimensions.

Sources: van den Oord et al. 2018 (arXiv 1807.03748, eq. 4); masking of false negatives as in Gemini Embedding
(arXiv 2503.07891, eq. 1); Matryoshka: arXiv 2205.13147, eq. 1 with weights over the prefixes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from model.errors import ConfigError
from model.matryoshka import truncate_tensor

MASKED = -1e9  # finite, so that a row without negatives has loss 0 instead of NaN


def contrastive_loss(
    query_ND: Tensor,
    document_MD: Tensor,
    *,
    temperature: float,
    dimensions: Sequence[int],
    ignored_NM: Tensor | None = None,
    symmetric: bool = True,
) -> dict[str, Tensor]:
    """Contrastive loss in which document i is the positive of query i and all others are negatives.

    Args:
        query_ND: unit vectors [N, D].
        document_MD: unit vectors [M, D], M >= N; rows from N on are hard negatives of the whole batch.
        temperature: divisor of the cosine, in (0, 1].
        dimensions: Matryoshka prefixes; each is renormalised and weighs the same.
        ignored_NM: True where a pair must not count as negative (a false negative); the positives never count.
        symmetric: add the document-to-query direction over the N positives.

    Returns:
        ``loss`` and its parts ``query_to_document`` and, if symmetric, ``document_to_query``: scalars.

    Raises:
        ConfigError: shapes or temperature out of range.
    """
    count, documents = len(query_ND), len(document_MD)
    if documents < count or not 0 < temperature <= 1:
        raise ConfigError(
            f"{count} queries, {documents} documents, temperature {temperature}: need documents >= queries and "
            "0 < temperature <= 1"
        )
    blocked_NM = _blocked(ignored_NM, count, documents, query_ND.device)
    target_N = torch.arange(count, device=query_ND.device)
    forward, backward = [], []
    for dimension in dimensions:
        query_Nd, document_Md = truncate_tensor(query_ND, dimension), truncate_tensor(document_MD, dimension)
        logits_NM = (query_Nd @ document_Md.T / temperature).masked_fill(blocked_NM, MASKED)
        forward.append(cross_entropy(logits_NM, target_N))
        if symmetric:
            backward.append(cross_entropy(logits_NM[:, :count].T, target_N))
    parts = {"query_to_document": torch.stack(forward).mean()}
    if symmetric:
        parts["document_to_query"] = torch.stack(backward).mean()
    return {"loss": torch.stack(list(parts.values())).mean(), **parts}


def _blocked(ignored_NM: Tensor | None, count: int, documents: int, device: torch.device) -> Tensor:
    """Pairs taken out of the denominator; a query's own positive always stays in."""
    if ignored_NM is None:
        return torch.zeros(count, documents, dtype=torch.bool, device=device)
    blocked_NM = ignored_NM.to(device).clone()
    diagonal = torch.arange(count, device=device)
    blocked_NM[diagonal, diagonal] = False
    return blocked_NM


def same_group_mask(group_N: Sequence[int], group_M: Sequence[int], hard_negatives_of_M: Sequence[int]) -> Tensor:
    """Pairs of one leakage group, which are likely false negatives: bool [N, M].

    Args:
        group_N: group number of each query.
        group_M: group number of each document.
        hard_negatives_of_M: for a hard negative the index of the query it was chosen for, else -1. It stays a
            negative of that query though it is of the same group: that is what makes it hard.
    """
    mask_NM = torch.tensor(group_N).unsqueeze(1) == torch.tensor(group_M).unsqueeze(0)
    for column, owner in enumerate(hard_negatives_of_M):
        if owner >= 0:
            mask_NM[owner, column] = False
    return mask_NM
