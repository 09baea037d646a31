"""Splits the hidden layer of each MLP of a graph into its wide channels and the rest, so that the rest fits 8 bits.

A few channels behind a GELU are ten times larger than the others, and one scale for all loses the others. Channels can
be put in any order, so the wide ones become a small MLP of their own beside the large one: the same function, but a
quantiser can leave the small one alone. (As LLM.int8() of arXiv 2208.07339, section 3.2, but with fixed channels.)

Shape legend: H width, F hidden channels, f of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

WIDE = 16  # per layer; more gain little: of multilingual-e5-small four at most stand out in any layer
NARROW, WIDE_ONES = "_narrow", "_wide"
Cut = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class Mlp:
    """The nodes of one MLP, ``MatMul -> Add -> Gelu -> MatMul``, and the names of its constants."""

    up: "onnx.NodeProto"
    add: "onnx.NodeProto"
    gelu: "onnx.NodeProto"
    down: "onnx.NodeProto"
    up_HF: str
    bias_F: str
    down_FH: str

    @property
    def hidden(self) -> str:
        """Name of the tensor whose channels are looked at: the output of the GELU."""
        return str(self.gelu.output[0])


def mlps(graph: "onnx.GraphProto") -> list[Mlp]:
    """Every MLP of that form whose tensors nothing else reads."""
    constants = {i.name for i in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for gelu in (node for node in graph.node if node.op_type == "Gelu"):
        add = maker.get(gelu.input[0])
        up = add and next((maker[i] for i in add.input if i in maker), None)
        after = readers.get(gelu.output[0], [])
        if not (add and up and len(after) == 1) or [add.op_type, up.op_type, after[0].op_type] != [
            "Add",
            *2 * ["MatMul"],
        ]:
            continue
        bias = [i for i in add.input if i in constants]
        lonely = all(len(readers[name]) == 1 for name in (up.output[0], add.output[0]))
        if len(bias) == 1 and lonely and {up.input[1], after[0].input[1]} <= constants:
            found.append(Mlp(up, add, gelu, after[0], up.input[1], bias[0], after[0].input[1]))
    return found


def widest(largest: Mapping[str, NDArray[np.float32]], count: int = WIDE) -> dict[str, NDArray[np.int64]]:
    """The ``count`` channels with the largest absolute values, in order, for each tensor; at most half of them."""
    return {name: np.sort(np.argsort(-peak_F)[: min(count, len(peak_F) // 2)]) for name, peak_F in largest.items()}


def split_wide(model: "onnx.ModelProto", wide: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """Give the wide channels of each MLP nodes of their own, in place.

    Args:
        model: a graph with its weights.
        wide: channels by the name of the tensor behind the GELU; MLPs without an entry stay as they are.

    Returns:
        Names of the new matrix products.
    """
    from onnx import numpy_helper

    graph = model.graph
    weights = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    made = []
    for mlp in (mlp for mlp in mlps(graph) if mlp.hidden in wide):
        wide_f = wide[mlp.hidden]
        narrow_f = np.setdiff1d(np.arange(len(weights[mlp.bias_F])), wide_f)
        cuts: dict[str, Cut] = {
            mlp.up_HF: lambda w_HF, f: w_HF[:, f],
            mlp.bias_F: lambda w_F, f: w_F[f],
            mlp.down_FH: lambda w_FH, f: w_FH[f],
        }
        names = {part: {name: f"{mlp.up.name}/{name}{part}" for name in cuts} for part in (NARROW, WIDE_ONES)}
        for part, f in ((NARROW, narrow_f), (WIDE_ONES, wide_f)):  # new ones: layers may share a constant
            for name, cut in cuts.items():
                values = np.ascontiguousarray(cut(weights[name], f))
                graph.initializer.append(numpy_helper.from_array(values, names[part][name]))
        made += _beside(graph, mlp, names[WIDE_ONES])
        for node in (mlp.up, mlp.add, mlp.down):
            node.input[:] = [names[NARROW].get(i, i) for i in node.input]
    read = {name for node in graph.node for name in node.input}
    kept = [i for i in graph.initializer if i.name in read]
    del graph.initializer[:], graph.value_info[:]  # the shapes are those of before
    graph.initializer.extend(kept)
    return made


def _beside(graph: "onnx.GraphProto", mlp: Mlp, constants: Mapping[str, str]) -> list[str]:
    """Add copies of the four nodes that read the wide channels' weights, and a sum; names of the products."""
    import onnx

    originals = (mlp.up, mlp.add, mlp.gelu, mlp.down)
    inner = {name: name + WIDE_ONES for node in originals for name in node.output}
    copies = []
    for node in originals:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name += WIDE_ONES
        copy.input[:] = [({**constants, **inner}).get(i, i) for i in node.input]
        copy.output[:] = [inner[o] for o in node.output]
        copies.append(copy)
    ends = (mlp.down.output[0], copies[-1].output[0])
    total = onnx.helper.make_node("Add", ends, [ends[0] + "_sum"], name=mlp.down.name + "_sum")
    for node in graph.node:
        node.input[:] = [total.output[0] if name == ends[0] else name for name in node.input]
    place = list(graph.node).index(mlp.down) + 1
    for node in reversed([*copies, total]):
        graph.node.insert(place, node)
    return [node.name for node in copies if node.op_type == "MatMul"]
