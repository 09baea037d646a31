"""The contrastive loss: exact in every combination of its options, in memory that grows with N and not with N x N.

Every anchor pair is a query with one of its positives. A term of the loss compares the logit of that pair with the
sum of exponentials over the negatives of one kind: documents for the query, queries for the document, and, as options,
other queries for the query and other documents for the document. Each query weighs the same, and so do its positives.

Shape legend: N queries, M documents, P anchor pairs (positives), D dimensions, K Matryoshka prefixes.

Sources: InfoNCE (arXiv 1807.03748, eq. 4); both directions as in CLIP (2103.00020); all four terms as in GTE
(2308.03281, section 3.1); masks as in Gemini Embedding (2503.07891, eq. 1); margin as in Qwen3-Embedding (2506.05176,
eq. 1); Matryoshka (2205.13147, eq. 1) with equal weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from model.errors import ConfigError
from model.losses.config import LossConfig
from model.losses.gather import Counts, processes
from model.losses.pairing import Pairing
from model.losses.terms import Terms

LARGEST_EXPONENT = 600.0  # exp() of it, times millions of pairs, stays within double precision


def contrastive_loss(
    query_ND: Tensor,
    document_MD: Tensor,
    pairing: Pairing,
    config: LossConfig | None = None,
    *,
    temperature: float | Tensor,
    dimensions: Sequence[int],
    tile: int | None = None,
) -> dict[str, Tensor]:
    """Loss of the queries and documents of this process against those of all processes.

    The mean over the processes of the result is the loss of the whole batch, and so is the mean of its gradients, which
    is what data parallel training takes. Gradients reach the embeddings of every process.

    Args:
        query_ND: embeddings [N, D]; only directions matter.
        document_MD: embeddings [M, D].
        pairing: which document belongs to which query.
        config: terms, scope, masks, weights.
        temperature: divisor of the cosine in (0, 1]; a tensor receives a gradient.
        dimensions: Matryoshka prefixes; each weighs the same.
        tile: edge of a tile, by default one that suits the device.

    Returns:
        ``loss``; its parts, by term or ``joint``; and ``in_batch_accuracy``, the share of positives above every
        negative document of their query. Scalars.

    Raises:
        ConfigError: shapes, pairing, temperature or dimensions do not fit.
    """
    config = config or LossConfig()
    value = temperature.item() if isinstance(temperature, Tensor) else temperature
    _check(query_ND, document_MD, config, value, dimensions)
    pairing.check(len(query_ND), len(document_MD))
    counts = Counts.of(len(query_ND), len(document_MD), query_ND.device)
    terms = Terms(query_ND, document_MD, pairing, config, temperature, dimensions, tile, counts)
    logit_KP, sums, best_P = terms.evaluate()
    weight_P = _weights(pairing, sum(counts.queries)).to(logit_KP)
    groups = {"joint": list(sums.values())} if config.partition == "joint" else {t: [s] for t, s in sums.items()}
    parts = {name: _softmax_loss(logit_KP, members, weight_P) for name, members in groups.items()}
    accuracy = ((logit_KP[-1].detach() > best_P) * weight_P).sum()
    return {"loss": torch.stack(list(parts.values())).mean(), **parts, "in_batch_accuracy": accuracy}


def _weights(pairing: Pairing, queries: int) -> Tensor:
    """Weight of each anchor pair, such that the mean over the processes is the mean over all queries."""
    owner_P = pairing.owner_M[pairing.positive_M]
    return processes() / queries / torch.bincount(owner_P)[owner_P].double()


def _softmax_loss(logit_KP: Tensor, sums: list[Tensor], weight_P: Tensor) -> Tensor:
    """Minus the logarithm of the anchor pair's share, weighted, and averaged over the prefixes.

    As a function of the negatives' lead over the anchor, which keeps its digits when the share is nearly one.
    """
    lead_KP = torch.logsumexp(torch.stack(sums), 0) - logit_KP
    return (-logsigmoid(-lead_KP) * weight_P).sum(1).mean()


def _check(
    query_ND: Tensor, document_MD: Tensor, config: LossConfig, temperature: float, dimensions: Sequence[int]
) -> None:
    strength = config.hardness.strength if config.hardness else 0.0
    if not (0 < temperature <= 1 and 1 / temperature + strength <= LARGEST_EXPONENT):
        raise ConfigError(
            f"temperature {temperature} with hardness strength {strength}: need 0 < temperature <= 1 and "
            f"1 / temperature + strength <= {LARGEST_EXPONENT:.0f}"
        )
    width = query_ND.shape[1]
    if document_MD.shape[1] != width or not dimensions or not all(0 < d <= width for d in dimensions):
        raise ConfigError(
            f"queries of {width} dimensions, documents of {document_MD.shape[1]}, prefixes {list(dimensions)}: need "
            f"equal widths and at least one prefix, each in 1..{width}"
        )
