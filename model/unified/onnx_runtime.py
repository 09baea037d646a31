"""The unified encoder on ONNX Runtime: same preprocessing, no torch.

Shape legend: N contents, L sequence positions, B tower inputs, T tokens per input, H trunk width, D dimensions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from model.content import Content, Modality
from model.encoder import Limits
from model.errors import ArtifactError
from model.processor import adds_in_32_bits
from model.unified.batch import MediaTokens, UnifiedBatch
from model.unified.config import UnifiedConfig
from model.unified.preprocess import Preprocessor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


TABLE, TRUNK, INT8 = "table", "trunk", "int8"
WEIGHT_BITS, ALL_BITS = "omnivec.weight_bits", 8  # a property of int8 graphs, and the value that not all may run


class OnnxUnifiedEncoder:
    """Encoder over exported graphs; results are numpy arrays."""

    def __init__(
        self, directory: Path, modalities: frozenset[Modality] | None, threads: int, spin: bool = True
    ) -> None:
        self.config = UnifiedConfig.parse(directory / "config.json")
        self.threads = threads
        self.modalities = (self.config.modalities & (modalities or self.config.modalities)) | {Modality.TEXT}
        tokenizer_json = (directory / "tokenizer.json").read_text(encoding="utf-8")
        self.preprocessor = Preprocessor(self.config, tokenizer_json, self.modalities)
        names = [TABLE, TRUNK, *sorted(m.value for m in self.config.towers(self.modalities))]
        self.sessions = {name: _session(self.graph(directory, name), threads, spin) for name in names}

    @classmethod
    def load(
        cls, directory: Path, *, modalities: frozenset[Modality] | None = None, threads: int = 0, spin: bool = True
    ) -> Self:
        """Open the graphs of an exported artifact; see :func:`open_session`.

        Raises:
            ArtifactError: the artifact has not been exported.
        """
        return cls(directory, modalities, threads, spin)

    @staticmethod
    def graph(directory: Path, name: str) -> Path:
        """Path of a graph in an artifact."""
        return directory / "onnx" / f"{name}.onnx"

    @property
    def limits(self) -> Limits:
        """Limits that ``preprocess`` enforces."""
        return self.config.limits

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Matryoshka dimensions, largest first."""
        return self.config.dimensions

    @property
    def tasks(self) -> frozenset[str]:
        """Named tasks that have a prefix."""
        return frozenset(self.config.prompts)

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """Exact number of tokens of each modality."""
        return self.preprocessor.count_tokens(content)

    def preprocess(self, contents: Sequence[Content]) -> UnifiedBatch:
        """Decode, tokenise and collate contents."""
        return self.preprocessor(contents)

    def __call__(self, batch: UnifiedBatch) -> NDArray[np.float32]:
        """Unit vectors [N, D]."""
        embeds_NLH: NDArray[np.float32] = self.sessions[TABLE].run(None, {"token_ids": batch.token_ids_NL})[0]
        for name, media in batch.media.items():
            self._fill(name, media, embeds_NLH)
        feed = {"embeddings": embeds_NLH, "mask": batch.mask_NL}
        vectors_ND: NDArray[np.float32] = self.sessions[TRUNK].run(None, feed)[0]
        return vectors_ND

    def save(self, directory: Path) -> None:
        """Exported graphs are written by the export step, not from here."""
        raise ArtifactError(f"an ONNX encoder cannot be saved to {directory}; copy the artifact directory instead")

    def _fill(self, name: str, media: MediaTokens, embeds_NLH: NDArray[np.float32]) -> None:
        for call in media.calls:
            first_B = media.position_K[call.tokens_BT[:, 0]]
            inputs = call.inputs.astype(np.float32, copy=False)  # the graphs take floats, pixels come as bytes
            tokens_BTH = self.sessions[name].run(None, {"inputs": inputs, "first": first_B})[0]
            place = call.tokens_BT.reshape(-1)
            embeds_NLH[media.row_K[place], media.column_K[place]] = tokens_BTH.reshape(len(place), -1)


class OnnxInt8UnifiedEncoder(OnnxUnifiedEncoder):
    """The same over graphs of 8-bit weights and activations, where the export made one; else over the fp32 graph.

    Raises:
        ArtifactError: there are none, or their weights take all 8 bits, whose products this processor would add wrong.
    """

    def __init__(
        self, directory: Path, modalities: frozenset[Modality] | None, threads: int, spin: bool = True
    ) -> None:
        super().__init__(directory, modalities, threads, spin)
        properties = self.sessions[TRUNK].get_modelmeta().custom_metadata_map
        if properties.get(WEIGHT_BITS) == str(ALL_BITS) and not adds_in_32_bits():
            raise ArtifactError(
                f"the weights of the int8 graphs in {directory} take all 8 bits; this processor, without VNNI, adds "
                "their products in 16 bits, where they saturate, so vectors would be wrong without a word. Export with "
                "int8_weight_bits: 7, or load with backend='onnx'"
            )

    @staticmethod
    def graph(directory: Path, name: str) -> Path:
        """The int8 graph, or that of fp32 for what is not quantised (table, image tower).

        Raises:
            ArtifactError: the artifact was exported without int8 graphs.
        """
        quantised = directory / "onnx" / INT8 / f"{name}.onnx"
        if name == TRUNK and not quantised.is_file():
            raise ArtifactError(
                f"{quantised} is missing: the export had int8: false, or left the int8 graphs out because they lose "
                "too much, which the artifact's README.md then says; load it with backend='onnx'"
            )
        return quantised if quantised.is_file() else OnnxUnifiedEncoder.graph(directory, name)


def _session(path: Path, threads: int, spin: bool) -> "InferenceSession":
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; run the export step, or load the artifact with backend='torch'")
    return open_session(path, threads=threads, spin=spin)


def open_session(graph: Path | bytes, *, threads: int, spin: bool = True) -> "InferenceSession":
    """Open a graph, from a file or from memory.

    Args:
        graph: the graph.
        threads: of one run; 0 lets the runtime choose.
        spin: whether threads that wait for each other keep their cores. It saves a little where nothing else runs, and
            costs much where other threads, or a quota of processor time, need them.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(graph) if isinstance(graph, Path) else graph
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
