"""Open a model artifact: the family is named in its ``omnivec.json`` or ``config.json``."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from model.content import Modality
from model.encoder import Encoder
from model.errors import ArtifactError
from model.precision import Precision, check_precision, to_bfloat16

if TYPE_CHECKING:
    from torch import nn

Backend = Literal["torch", "onnx", "onnx-int8"]
# (family, backend) -> module and class; resolved lazily so that serving with ONNX never imports torch.
LOADERS: dict[tuple[str, Backend], tuple[str, str]] = {
    ("unified", "torch"): ("model.unified.encoder", "UnifiedEncoder"),
    ("unified", "onnx"): ("model.unified.onnx_runtime", "OnnxUnifiedEncoder"),
    ("unified", "onnx-int8"): ("model.unified.onnx_runtime", "OnnxInt8UnifiedEncoder"),
    ("sentence_transformer", "torch"): ("model.sentence_transformer.encoder", "SentenceTransformerEncoder"),
}
# Where an artifact says what it is, the first that exists: a model of sentence-transformers has its own config.json.
SETTINGS = ("omnivec.json", "config.json")


def artifact_kind(directory: Path) -> str:
    """Family of the artifact in ``directory``.

    Raises:
        ArtifactError: there is no readable ``config.json`` with a ``kind``.
    """
    path = next((p for name in SETTINGS if (p := directory / name).is_file()), directory / SETTINGS[-1])
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is not the config of an Omnivec model artifact: {error!r}") from error


def usable_backend(directory: Path, wanted: Backend) -> Backend:
    """``wanted``, or torch for the family that has no ONNX form (sentence_transformer)."""
    return "torch" if wanted != "torch" and artifact_kind(directory) == "sentence_transformer" else wanted


def load_encoder(
    directory: Path,
    *,
    modalities: frozenset[Modality] | None = None,
    backend: Backend = "torch",
    dtype: Precision = "float32",
    threads: int = 0,
    spin: bool = True,
) -> Encoder:
    """Load the encoder of an artifact in evaluation mode.

    Args:
        directory: artifact directory.
        modalities: towers to load; all by default, text always.
        backend: ``torch``, or ``onnx`` when the artifact has been exported, or ``onnx-int8`` when it has int8 graphs.
        dtype: what the network computes in; vectors are float32 whatever it is.
        threads: of ONNX Runtime inside one batch, all cores when 0; with 1 ``encode_contents`` runs a batch on each
            core, which takes less time for many contents.
        spin: whether these threads keep their cores while they wait for each other; not where they share them.

    Raises:
        ArtifactError: unknown family, missing or damaged files.
        ConfigError: a precision that the backend has not, or float16.
    """
    kind, backend = artifact_kind(directory), usable_backend(directory, backend)
    try:
        module, name = LOADERS[kind, backend]
    except KeyError:
        known = ", ".join(f"{k}/{b}" for k, b in LOADERS)
        raise ArtifactError(
            f"{directory} holds a {kind!r} model, no loader for backend {backend!r}; known: {known}"
        ) from None
    loader = cast("type[Encoder]", getattr(import_module(module), name))
    precision = check_precision(dtype, backend)
    options = {} if backend == "torch" else {"threads": threads, "spin": spin}
    encoder = cast("Callable[..., Encoder]", loader.load)(directory, modalities=modalities, **options)
    return encoder if precision == "float32" else cast("Encoder", to_bfloat16(cast("nn.Module", encoder)))
