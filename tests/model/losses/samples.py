"""Random batches for the loss: embeddings, pairings with collisions of every kind, configurations."""

import torch
from hypothesis import strategies as st

from model.losses.config import FalseNegatives, Hardness, LossConfig
from model.losses.pairing import Pairing

TERMS = ("document_to_query", "query_to_query", "document_to_document")


def pairing_of(queries: int, extra: int, hard: int, seed: int, kinds: int = 4) -> Pairing:
    """Every query with a positive, ``extra`` more positives and ``hard`` hard negatives; ids collide often."""
    rng = torch.Generator().manual_seed(seed)

    def draw(size: int, low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, (size,), generator=rng)

    owner = torch.cat([torch.arange(queries), draw(extra + hard, 0, queries)])
    positive = torch.arange(len(owner)) < queries + extra
    order = torch.randperm(len(owner), generator=rng)
    owner, positive = owner[order], positive[order]
    group = draw(queries, -1, 2 * queries)
    return Pairing(
        owner_M=owner,
        positive_M=positive,
        query_key_N=draw(queries, -1, kinds * queries),
        document_key_M=draw(len(owner), -1, kinds * len(owner)),
        group_N=group,
        group_M=torch.where(draw(len(owner), 0, 3) > 0, group[owner], draw(len(owner), -1, 2 * queries)),
        label_N=draw(queries, -1, kinds),
        label_M=draw(len(owner), -1, kinds),
    )


def embeddings(queries: int, documents: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of different lengths, documents near to some query, in double precision."""
    rng = torch.Generator().manual_seed(seed)
    query = torch.randn(queries, width, generator=rng, dtype=torch.float64)
    near = query[torch.randint(0, queries, (documents,), generator=rng)]
    return query, near + torch.randn(documents, width, generator=rng, dtype=torch.float64)


@st.composite
def configs(draw: st.DrawFn) -> LossConfig:
    """Any valid configuration."""
    own = draw(st.booleans()) and draw(st.booleans())
    chosen = () if own else tuple(t for t in TERMS if draw(st.booleans()))
    rules = FalseNegatives(
        same_positive=draw(st.booleans()),
        same_query=draw(st.booleans()),
        same_group=draw(st.booleans()),
        labels=draw(st.sampled_from(["none", "group"])),
        margin=draw(st.none() | st.sampled_from([0.0, 0.1])),
        ratio=draw(st.none() | st.sampled_from([0.5, 0.95])),
    )
    on = draw(st.none() | st.sampled_from(["in_batch", "hard", "all"]))
    return LossConfig(
        terms=("query_to_document", *chosen),
        partition=draw(st.sampled_from(["separate", "joint"])),
        negatives="own" if own else draw(st.sampled_from(["everywhere", "process"])),
        false_negatives=rules,
        hardness=Hardness(on=on, strength=draw(st.sampled_from([1.0, 9.0]))) if on else None,
    )
