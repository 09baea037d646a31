"""Open a model artifact: the family is named in its ``config.json``."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from model.content import Modality
from model.encoder import Encoder
from model.errors import ArtifactError

Backend = Literal["torch", "onnx"]
# (family, backend) -> module and class; resolved lazily so that serving with ONNX never imports torch.
LOADERS: dict[tuple[str, Backend], tuple[str, str]] = {
    ("unified", "torch"): ("model.unified.encoder", "UnifiedEncoder"),
    ("unified", "onnx"): ("model.unified.onnx_runtime", "OnnxUnifiedEncoder"),
}


def artifact_kind(directory: Path) -> str:
    """Family of the artifact in ``directory``.

    Raises:
        ArtifactError: there is no readable ``config.json`` with a ``kind``.
    """
    path = directory / "config.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is not the config of an Omnivec model artifact: {error!r}") from error


def load_encoder(
    directory: Path, *, modalities: frozenset[Modality] | None = None, backend: Backend = "torch"
) -> Encoder:
    """Load the encoder of an artifact in evaluation mode.

    Args:
        directory: artifact directory.
        modalities: towers to load; all by default, text always.
        backend: ``torch``, or ``onnx`` when the artifact has been exported.

    Raises:
        ArtifactError: unknown family, missing or damaged files.
    """
    kind = artifact_kind(directory)
    try:
        module, name = LOADERS[kind, backend]
    except KeyError:
        known = ", ".join(f"{k}/{b}" for k, b in LOADERS)
        raise ArtifactError(
            f"{directory} holds a {kind!r} model, no loader for backend {backend!r}; known: {known}"
        ) from None
    loader = cast("type[Encoder]", getattr(import_module(module), name))
    return cast("Callable[..., Encoder]", loader.load)(directory, modalities=modalities)
