"""What is worth watching of a batch of embeddings and of the gradients; nothing here waits for the device.

Shape legend: N queries, M documents (the positive of query i is document i), D dimensions, S sampled rows.

Alignment and uniformity: Wang and Isola 2020 (arXiv 2005.10242, section 4.1, alpha = 2 and t = 2), lower is better for
both; uniformity falls from 0 (all in one point) towards -4.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.training.exchange import norms

SAMPLE = 256


@torch.no_grad()
def embedding_figures(query_ND: Tensor, document_MD: Tensor) -> dict[str, Tensor]:
    """Alignment, uniformity of both sides and in-batch accuracy, over at most ``SAMPLE`` evenly spaced queries.

    The accuracy is the share of queries nearest to their own positive among all M documents: a document that happens
    to be as right counts as wrong.
    """
    rows_S = torch.linspace(0, len(query_ND) - 1, min(SAMPLE, len(query_ND)), device=query_ND.device).round().long()
    query_SD, positive_SD = query_ND[rows_S].float(), document_MD[rows_S].float()
    best_S = (query_SD @ document_MD.float().T).argmax(1)
    return {
        "in_batch_accuracy": (best_S == rows_S).float().mean(),
        "alignment": (query_SD - positive_SD).square().sum(1).mean(),
        "uniformity_query": _uniformity(query_SD),
        "uniformity_document": _uniformity(positive_SD),
    }


def _uniformity(unit_SD: Tensor) -> Tensor:
    """Logarithm of the mean over pairs of exp(-2 d^2); of unit vectors d^2 is 2 - 2 cos."""
    cosine_SS = unit_SD @ unit_SD.T
    upper = torch.triu_indices(len(unit_SD), len(unit_SD), 1, device=unit_SD.device)
    pairs = cosine_SS[upper[0], upper[1]]
    return torch.logsumexp(4 * pairs - 4, 0) - torch.log(torch.tensor(max(1.0, len(pairs)), device=unit_SD.device))


def gradient_norms(groups: Mapping[str, Sequence[nn.Parameter]]) -> dict[str, Tensor]:
    """L2 norm of the gradients of each group of parameters that has any, shards of all processes together."""
    return norms({name: [p.grad for p in members if p.grad is not None] for name, members in groups.items()})
