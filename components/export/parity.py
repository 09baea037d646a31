"""How far two backends differ on the same contents.

Shape legend: N contents, D dimensions.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.content import Content
    from model.encoder import Encoder


def lowest_cosine(encoder: "Encoder", other: "Encoder", contents: "list[Content]") -> float:
    """Lowest cosine between the vectors that two backends give the same contents, embedded in one batch."""
    from model.encoding import run_batch

    left_ND, right_ND = run_batch(encoder, contents), run_batch(other, contents)
    return float((left_ND * right_ND).sum(1).min())
