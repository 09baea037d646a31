"""ONNX graphs of the unified encoder: the word table, one per tower with its projector, and trunk, pooling and head.

Splitting at the token embeddings lets one set of graphs serve every mixture of parts: the runtime lays the media
tokens into the sequence, which is index arithmetic and needs no graph. The table, by far the largest, is a graph of
its own, so that the fp32 and the int8 trunk share it.

Shape legend: N contents, L sequence positions, B tower inputs, T tokens per input, H trunk width, D dimensions,
S pixels a side.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from model.unified.encoder import UnifiedEncoder
from model.unified.onnx_runtime import TABLE, TRUNK
from model.unified.sound import input_shape

OPSET = 23  # the first with attention as one operator


class TrunkGraph(nn.Module):
    """Embeddings of tokens, of text or of media, to unit vectors."""

    def __init__(self, encoder: UnifiedEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.rotary = any(name.endswith("rotary_emb") for name, _ in encoder.trunk.named_modules())

    def forward(self, embeds_NLH: Tensor, mask_NL: Tensor) -> Tensor:
        """Unit vectors [N, D]."""
        options: dict[str, Any] = {}
        if self.rotary:  # the operator wants angles for every row, so that positions cannot be shared by the batch
            options["position_ids"] = torch.arange(mask_NL.shape[1], device=mask_NL.device) + torch.zeros_like(mask_NL)
        return normalize(self.encoder.head(self.encoder.pool_embeds(embeds_NLH, mask_NL, **options)), dim=-1)


class TowerGraph(nn.Module):
    """Tower inputs [B, ...] and the position [B] of the first token of each to tokens [B, T, H]."""

    def __init__(self, encoder: UnifiedEncoder, name: str) -> None:
        super().__init__()
        self.frontend = encoder.frontends[name]
        self.projector = encoder.projectors[name]

    def forward(self, inputs: Tensor, first_B: Tensor) -> Tensor:
        """Tokens [B, T, H]."""
        cells_BTGC = self.frontend(inputs)
        batch, tokens = cells_BTGC.shape[:2]
        position_BT = first_B.unsqueeze(1) + torch.arange(tokens, device=first_B.device)
        tokens_KH = self.projector(cells_BTGC.flatten(0, 1), position_BT.flatten())
        tokens_BTH: Tensor = tokens_KH.unflatten(0, (batch, tokens))
        return tokens_BTH


@dataclass(frozen=True)
class Graph:
    """What ``torch.onnx`` needs to know of one graph."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    dynamic: tuple[dict[int, Any], ...]
    output: str


def export_onnx(encoder: UnifiedEncoder, directory: Path) -> dict[str, int]:
    """Write ``<directory>/<graph>.onnx`` for the trunk and every loaded tower; each passes ``onnx.checker``.

    Returns:
        Graph name -> bytes.
    """
    import onnx

    directory.mkdir(parents=True, exist_ok=True)
    encoder = encoder.eval()
    sizes = {}
    for name, make in _graphs(encoder).items():
        path = directory / f"{name}.onnx"
        without_traces(to_onnx(make())).save(path, external_data=False)
        onnx.checker.check_model(str(path))
        sizes[name] = path.stat().st_size
    return sizes


def to_onnx(graph: Graph) -> torch.onnx.ONNXProgram:
    """Trace one graph."""
    with _out_of_place(graph.module):
        program = torch.onnx.export(
            graph.module.eval(),
            graph.inputs,
            input_names=list(graph.input_names),
            output_names=[graph.output],
            dynamic_shapes=graph.dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program


def without_traces(program: torch.onnx.ONNXProgram) -> torch.onnx.ONNXProgram:
    """The program without the lines of code that its nodes come from.

    They name the files of this machine, so that the same model would have another digest when exported elsewhere.
    """
    for graph in (program.model.graph, *(function.graph for function in program.model.functions.values())):
        for node in graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
    return program


@contextmanager
def _out_of_place(module: nn.Module) -> Iterator[None]:
    """Activations write to new memory meanwhile: tracing them in place takes nearly twice as long (measured)."""
    changed = [m for m in module.modules() if getattr(m, "inplace", False) is True]
    for found in changed:
        found.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for found in changed:
            found.inplace = True  # type: ignore[assignment]


def _graphs(encoder: UnifiedEncoder) -> dict[str, Callable[[], Graph]]:
    towers = {name: (lambda name=name: _tower_graph(encoder, name)) for name in encoder.frontends}
    return {TABLE: lambda: _table_graph(encoder), TRUNK: lambda: _trunk_graph(encoder), **towers}


def _dimensions(encoder: UnifiedEncoder) -> dict[int, Any]:
    rows = torch.export.Dim("N", min=1, max=4096)
    return {0: rows, 1: torch.export.Dim("L", min=1, max=encoder.limits.max_tokens)}


def _table_graph(encoder: UnifiedEncoder) -> Graph:
    ids_NL = torch.ones(2, 5, dtype=torch.int64)
    return Graph(encoder.table, (ids_NL,), ("token_ids",), (_dimensions(encoder),), "embeddings")


def _trunk_graph(encoder: UnifiedEncoder) -> Graph:
    embeds_NLH = torch.zeros(2, 5, encoder.table.embedding_dim)
    shape = _dimensions(encoder)
    return Graph(
        TrunkGraph(encoder),
        (embeds_NLH, torch.ones(2, 5, dtype=torch.int64)),
        ("embeddings", "mask"),
        (shape, shape),
        "vectors",
    )


def _tower_graph(encoder: UnifiedEncoder, name: str) -> Graph:
    config = encoder.config
    batch = torch.export.Dim("B", min=1, max=4096)
    first_B = torch.zeros(2, dtype=torch.int64)
    inputs: Tensor
    if name == "audio":
        assert config.audio_tower is not None
        steps = config.token_samples // config.audio_tower.step_samples
        tokens = torch.export.Dim("T", min=1, max=round(config.audio.window_seconds / config.audio.token_seconds))
        inputs = torch.zeros(2, *input_shape(config.audio_tower, 3 * config.token_samples))
        dynamic: dict[int, Any] = {0: batch, inputs.dim() - 1: steps * tokens}
    else:
        size = config.image.size if name == "image" else config.video.size
        inputs = torch.zeros(2, 3, size, size)
        dynamic = {0: batch}
    return Graph(TowerGraph(encoder, name), (inputs, first_B), ("inputs", "first"), (dynamic, {0: batch}), "tokens")
