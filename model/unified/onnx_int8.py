"""The int8 variant of exported graphs: weights per channel ahead of time, activations per tensor while running.

Only matrix products are quantised, in the trunk and in the audio tower. The image tower, mostly depthwise
convolutions, and the word table, only ever looked up, stay as they are.

Weights take 7 of their 8 bits: x86 processors without VNNI add pairs of 8-bit products in 16 bits, which saturates.
With all 8 the loss is smaller (mean cosine 0.991 in place of 0.976 for texts of a quickstart model), but only
processors that add in 32 bits may run the graph, so it says what it is and is refused elsewhere.
The few wide channels behind each GELU stay in fp32 (``onnx_wide``). Which ones they are is seen on contents of every
kind. Where none were given, or a product reads a GELU in another way, that whole product stays in fp32: with one scale
for all its channels nDCG@10 of text retrieval fell by up to 0.018.

Shape legend: F hidden channels.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from model.content import Content
from model.encoding import run_batches
from model.unified.onnx_runtime import ALL_BITS, INT8, TRUNK, WEIGHT_BITS, OnnxUnifiedEncoder, open_session
from model.unified.onnx_wide import mlps, split_wide, widest

if TYPE_CHECKING:
    import onnx

    from model.encoder import Encoder

QUANTISED = (TRUNK, "audio")
PRODUCTS = ("MatMul", "Gemm")


def quantize_graphs(artifact: Path, contents: Sequence[Content] = (), *, weight_bits: int = 7) -> dict[str, int]:
    """Write ``onnx/int8/<graph>.onnx`` for trunk and audio tower; each passes ``onnx.checker``.

    Args:
        artifact: exported artifact.
        contents: a few of every kind that the model embeds, to find the wide channels.
        weight_bits: 7 for any processor, or 8.

    Returns:
        Graph name, as ``int8/trunk``, -> bytes.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (artifact / "onnx" / INT8).mkdir(exist_ok=True)
    peaks = hidden_peaks(artifact, contents)
    sizes = {}
    for name in QUANTISED:
        source, path = OnnxUnifiedEncoder.graph(artifact, name), artifact / "onnx" / INT8 / f"{name}.onnx"
        if not source.is_file():
            continue
        model = onnx.load(source)
        whole = after_gelu(model, but=peaks.get(name, {}))
        wide = split_wide(model, widest(peaks.get(name, {})))
        model.metadata_props.add(key=WEIGHT_BITS, value=str(weight_bits))
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=list(PRODUCTS),
            per_channel=True,
            reduce_range=weight_bits < ALL_BITS,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*whole, *wide],
            extra_options={"MatMulConstBOnly": True},
        )
        onnx.checker.check_model(str(path))
        sizes[f"{INT8}/{name}"] = path.stat().st_size
    return sizes


def hidden_peaks(artifact: Path, contents: Sequence[Content]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Largest absolute value [F] of each hidden channel: by graph, by name of the tensor behind the GELU."""
    if not contents:
        return {}
    encoder = OnnxUnifiedEncoder.load(artifact)
    watched = {name: Watched(encoder.graph(artifact, name)) for name in QUANTISED if name in encoder.sessions}
    encoder.sessions.update(watched)
    for _ in run_batches(cast("Encoder", encoder), ([content] for content in contents)):
        pass
    return {name: session.peaks for name, session in watched.items()}


class Watched:
    """A session of a graph that keeps the largest absolute value of each hidden channel of its MLPs."""

    def __init__(self, path: Path) -> None:
        import onnx

        model = onnx.load(path)
        self.names = [mlp.hidden for mlp in mlps(model.graph)]
        model.graph.output.extend(
            onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in self.names
        )
        self.session = open_session(model.SerializeToString(), threads=0)
        self.peaks: dict[str, NDArray[np.float32]] = {}

    def run(self, _: None, feed: Mapping[str, Any]) -> list[Any]:
        """As an ``InferenceSession`` does it, for the graph's own output."""
        result, *hidden = self.session.run(None, dict(feed))
        for name, values in zip(self.names, hidden, strict=True):
            peak_F = np.abs(values).reshape(-1, values.shape[-1]).max(0)
            self.peaks[name] = np.maximum(peak_F, self.peaks.get(name, peak_F))
        return [result]


def after_gelu(model: "onnx.ModelProto", but: Collection[str] = ()) -> list[str]:
    """Names of the matrix products that read the output of a GELU, at once or after a change of shape.

    Args:
        model: a graph.
        but: names of outputs that do not count.
    """
    wide: set[str] = set()
    found = []
    for node in model.graph.node:  # a graph lists its nodes in the order of execution
        reads = bool(node.input) and node.input[0] in wide
        if node.op_type == "Gelu" or (reads and node.op_type in ("Reshape", "Cast", "Dropout")):
            wide.update(name for name in node.output if name not in but)
        elif reads and node.op_type in PRODUCTS:
            found.append(node.name)
    return found
