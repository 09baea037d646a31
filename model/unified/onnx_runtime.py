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
from model.unified.batch import MediaTokens, UnifiedBatch
from model.unified.config import UnifiedConfig
from model.unified.preprocess import Preprocessor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxUnifiedEncoder:
    """Encoder over exported graphs; results are numpy arrays."""

    def __init__(self, directory: Path, modalities: frozenset[Modality] | None, threads: int) -> None:
        self.config = UnifiedConfig.parse(directory / "config.json")
        self.modalities = (self.config.modalities & (modalities or self.config.modalities)) | {Modality.TEXT}
        tokenizer_json = (directory / "tokenizer.json").read_text(encoding="utf-8")
        self.preprocessor = Preprocessor(self.config, tokenizer_json, self.modalities)
        names = ["trunk", *sorted(m.value for m in self.modalities if m is not Modality.TEXT)]
        self.sessions = {name: _session(directory / "onnx" / f"{name}.onnx", threads) for name in names}

    @classmethod
    def load(cls, directory: Path, *, modalities: frozenset[Modality] | None = None, threads: int = 0) -> Self:
        """Open the graphs of an exported artifact; ``threads`` of 0 lets the runtime choose.

        Raises:
            ArtifactError: the artifact has not been exported.
        """
        return cls(directory, modalities, threads)

    @property
    def limits(self) -> Limits:
        """Limits that ``preprocess`` enforces."""
        return self.config.limits

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Matryoshka dimensions, largest first."""
        return self.config.dimensions

    def count_tokens(self, content: Content) -> dict[Modality, int]:
        """Exact number of tokens of each modality."""
        return self.preprocessor.count_tokens(content)

    def preprocess(self, contents: Sequence[Content]) -> UnifiedBatch:
        """Decode, tokenise and collate contents."""
        return self.preprocessor(contents)

    def __call__(self, batch: UnifiedBatch) -> NDArray[np.float32]:
        """Unit vectors [N, D]."""
        width = self.sessions["trunk"].get_inputs()[2].shape[2]
        media_NLH = np.zeros((*batch.token_ids_NL.shape, width), dtype=np.float32)
        is_media_NL = np.zeros(batch.token_ids_NL.shape, dtype=bool)
        for name, media in batch.media.items():
            self._fill(name, media, media_NLH, is_media_NL)
        feed = {
            "token_ids": batch.token_ids_NL,
            "mask": batch.mask_NL,
            "media": media_NLH,
            "is_media": is_media_NL,
        }
        vectors_ND: NDArray[np.float32] = self.sessions["trunk"].run(None, feed)[0]
        return vectors_ND

    def save(self, directory: Path) -> None:
        """Exported graphs are written by the export step, not from here."""
        raise ArtifactError(f"an ONNX encoder cannot be saved to {directory}; copy the artifact directory instead")

    def _fill(
        self, name: str, media: MediaTokens, media_NLH: NDArray[np.float32], is_media_NL: NDArray[np.bool_]
    ) -> None:
        for call in media.calls:
            first_B = media.position_K[call.tokens_BT[:, 0]]
            tokens_BTH = self.sessions[name].run(None, {"inputs": call.inputs, "first": first_B})[0]
            place = call.tokens_BT.reshape(-1)
            media_NLH[media.row_K[place], media.column_K[place]] = tokens_BTH.reshape(len(place), -1)
        is_media_NL[media.row_K, media.column_K] = True


def _session(path: Path, threads: int) -> "InferenceSession":
    import onnxruntime

    if not path.is_file():
        raise ArtifactError(f"{path} is missing; run the export step, or load the artifact with backend='torch'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
