"""The int8 variant of the graphs, with what it costs: cosine to torch by kind, and retrieval next to fp32.

Shape legend: Q queries, P passages, D dimensions.
"""

import shutil
import sys
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from data.corpus import Corpus
    from model.content import Content
    from model.encoder import Encoder

CUT = 10
WAY_OUT = "; export.int8_weight_bits: 8 loses less, where every processor that serves has VNNI or is an ARM"


def export_int8(
    encoder: "Encoder",
    fp32: "Encoder",
    output: Path,
    *,
    compared: "Mapping[str, list[Content]]",
    pairs: "Mapping[str, list[tuple[Content, Content]]]",
    maximum_loss: float,
    weight_bits: int = 7,
) -> dict[str, Any]:
    """Write the int8 graphs of the exported artifact ``output`` and measure them; those that lose too much do not stay.

    Args:
        encoder: the torch form.
        fp32: the fp32 graphs.
        output: exported artifact.
        compared: contents by kind whose cosine to torch is taken, and from which the wide channels are known.
        pairs: by task, queries with their passages; each task is searched by itself.
        maximum_loss: of nDCG@10, as a mean over the tasks.
        weight_bits: 7 or 8, see :mod:`model.unified.onnx_int8`.

    Returns:
        JSON document: lowest cosine by kind, nDCG@10 of fp32 and int8 by task, mean loss, bits of the weights, bytes of
        the graphs; and ``left_out``, the reason why there are none.
    """
    from components.export.parity import lowest_cosine
    from model.artifact import load_encoder
    from model.unified.onnx_int8 import quantize_graphs
    from model.unified.onnx_runtime import ALL_BITS, INT8

    sizes = quantize_graphs(output, list(chain.from_iterable(compared.values())), weight_bits=weight_bits)
    int8 = load_encoder(output, backend="onnx-int8")
    cosines = {kind: lowest_cosine(encoder, int8, some) for kind, some in compared.items()}
    found = {task: {"fp32": search(fp32, some), "int8": search(int8, some)} for task, some in pairs.items()}
    loss = float(np.mean([scores["fp32"] - scores["int8"] for scores in found.values()])) if found else None
    rule = {"maximum_loss": maximum_loss, "weight_bits": weight_bits}
    measured = {"cosine": cosines, "ndcg_at_10": found, "loss": loss, **rule, "bytes": sizes}
    if loss is None or loss <= maximum_loss:
        return measured
    why = (
        f"the int8 graphs lose {loss:.4f} of nDCG@{CUT} against fp32, the rule is <= {maximum_loss} "
        f"(export.int8_maximum_loss), so they were left out{WAY_OUT if weight_bits < ALL_BITS else ''}"
    )
    sys.stderr.write(f"export: {why}\n")
    shutil.rmtree(output / "onnx" / INT8)
    return {**measured, "bytes": {}, "left_out": why}


def text_pairs(corpus: "Corpus", per_task: int) -> "dict[str, list[tuple[Content, Content]]]":
    """At most ``per_task`` test queries with a passage, of each task whose contents are text alone."""
    from model.content import Content, Modality

    chosen: dict[str, list[tuple[Content, Content]]] = {}
    for record in corpus.select(split="test"):
        refs = (record.query, record.positives[0])
        pool = chosen.setdefault(record.task, [])
        if len(pool) < per_task and all(part.modality is Modality.TEXT for ref in refs for part in ref):
            query, passage = (corpus.content(record, ref) for ref in refs)
            pool.append((Content(query.parts, task="query"), Content(passage.parts, task="document")))
    return {task: pool for task, pool in chosen.items() if pool}


def search(encoder: "Encoder", pairs: "list[tuple[Content, Content]]") -> float:
    """Mean nDCG@10 of the queries over the distinct passages of all pairs."""
    from model.encoding import encode_contents

    passages = list(dict.fromkeys(passage for _, passage in pairs))
    vectors_QD = encode_contents(encoder, [query for query, _ in pairs], desc="")
    vectors_PD = encode_contents(encoder, passages, desc="")
    place = {passage: i for i, passage in enumerate(passages)}
    return ndcg(vectors_QD @ vectors_PD.T, np.array([place[passage] for _, passage in pairs]))


def ndcg(scores_QP: NDArray[np.float32], right_Q: NDArray[np.int64]) -> float:
    """Mean nDCG@10 where each query has one right passage; ties count against it."""
    rows = np.arange(len(scores_QP))
    above_Q = (scores_QP >= scores_QP[rows, right_Q][:, None]).sum(1) - 1
    gains_Q = np.where(above_Q < CUT, 1 / np.log2(above_Q + 2), 0.0)
    return float(gains_Q.mean())
