"""Three verbs over any ``Encoder``: prepare (CPU, one item) / compute (a batch) / finish (plain numpy).

Shape legend: N items, D embedding dimensions, d requested dimensions.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from model.artifact import Backend, load_encoder, usable_backend
from model.content import Content, Modality
from model.encoder import Encoder, Limits, takes
from model.errors import ArtifactError, CapabilityError, ConfigError
from model.matryoshka import check_dimension, truncate
from model.precision import Precision
from model.quantize import FILE as QUANTIZATION
from model.quantize import Quantizer, load_quantizer
from model.unified.batch import UnifiedBatch
from model.unified.merge import merge_batches
from model.unified.portable import FILES as PORTABLE

Merge = Callable[[Sequence[Any]], Any]
MERGERS: dict[type[Any], Merge] = {UnifiedBatch: merge_batches}
"""How prepared batches of one become a batch of many, by batch type. Others are prepared once more, together."""

NOT_THE_SPACE = ("onnx/", "README.md", "reference.parquet", "training.json", "soup.json", QUANTIZATION, *PORTABLE)
"""Files of an artifact that do not change its float vectors: a re-exported model stays in its space.

The space of ``int8`` and ``uint8`` codes is told by the digest of their ranges beside it.
"""


@dataclass(frozen=True)
class Prepared:
    """One item after decoding and tokenising: a batch of one, and what it costs."""

    content: Content
    batch: Any
    tokens: dict[Modality, int]

    @property
    def length(self) -> int:
        """Tokens of the sequence, all modalities together."""
        return sum(self.tokens.values())


class Engine:
    """Runs one encoder; thread-safe."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        vector_space: str,
        quantizer: Quantizer | None = None,
        guard: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.encoder = encoder
        self.quantizer = quantizer if quantizer is not None else Quantizer({})
        self.vector_space = vector_space
        self._guard = guard

    @property
    def limits(self) -> Limits:
        """Limits of one content."""
        return self.encoder.limits

    @property
    def modalities(self) -> frozenset[Modality]:
        """Modalities that can be embedded."""
        return self.encoder.modalities

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Matryoshka dimensions, largest first."""
        return tuple(self.encoder.dimensions)

    @property
    def tasks(self) -> frozenset[str]:
        """Tasks that a content may name."""
        return self.encoder.tasks

    def check(self, content: Content) -> None:
        """Refuse what this model cannot take, before any work.

        Raises:
            CapabilityError: a part's modality has no tower here.
        """
        missing = content.modalities - self.modalities
        if missing:
            raise CapabilityError(
                f"this model embeds {', '.join(sorted(self.modalities))}, not {', '.join(sorted(missing))}"
            )

    def takes(self, content: Content) -> bool:
        """Whether the model embeds contents of this make."""
        return takes(self.encoder, [part.modality for part in content.parts])

    def prepare(self, content: Content) -> Prepared:
        """Check, decode and tokenise one content, so that a bad one fails alone.

        Raises:
            ContentError: a part is undecodable or exceeds a limit.
            CapabilityError: a part's modality has no tower here.
        """
        self.check(content)
        return Prepared(content, self.encoder.preprocess([content]), self.encoder.count_tokens(content))

    def compute(self, items: Sequence[Prepared]) -> NDArray[np.float32]:
        """Vectors of N prepared items in their order, shape [N, D]."""
        with self._guard():
            result: Any = self.encoder(self._joined(items))
        if not isinstance(result, np.ndarray):
            result = result.detach().cpu().float().numpy()
        return np.asarray(result, dtype=np.float32)

    def finish(self, vectors_ND: NDArray[np.float32], dimension: int | None) -> NDArray[np.float32]:
        """Shorten to ``dimension`` and renormalise, shape [N, d].

        Raises:
            ConfigError: the dimension is not offered.
            FloatingPointError: a vector has a NaN or infinity, the mark of broken half-precision arithmetic.
        """
        if not np.isfinite(vectors_ND).all():
            raise FloatingPointError("the model returned a vector that is not finite")
        if dimension is None or dimension == vectors_ND.shape[1]:
            return vectors_ND
        return truncate(vectors_ND, self.check_dimension(dimension))

    def check_dimension(self, dimension: int) -> int:
        """Return ``dimension`` if it is offered.

        Raises:
            ConfigError: naming the trained prefixes.
        """
        return check_dimension(dimension, self.dimensions)

    def warm_up(self, samples: Sequence[Content]) -> None:
        """Embed each sample alone and all together, so that no caller pays for first-time work.

        Raises:
            ArtifactError: the model cannot embed a plain sample of a modality that it claims.
        """
        try:
            prepared = [self.prepare(sample) for sample in samples]
            for item in prepared:
                self.finish(self.compute([item]), None)
            self.finish(self.compute(prepared), min(self.dimensions))
        except Exception as error:
            raise ArtifactError(f"the model failed its warm-up: {error}") from error

    def _joined(self, items: Sequence[Prepared]) -> Any:
        if len(items) == 1:
            return items[0].batch
        merge = MERGERS.get(type(items[0].batch))
        if merge is None:
            return self.encoder.preprocess([item.content for item in items])
        return merge([item.batch for item in items])


def load_engine(
    artifact: Path,
    *,
    backend: Backend,
    modalities: frozenset[Modality] | None,
    dtype: Precision = "float32",
    device: str = "cpu",
    threads: int = 0,
) -> Engine:
    """Load an artifact directory into an engine.

    Args:
        artifact: directory of the model.
        backend: what computes.
        modalities: towers to load; all by default.
        dtype: of the torch backend.
        device: of the torch backend: ``cpu``, ``cuda``, or ``auto``, which takes a GPU where there is one.
        threads: of one computation; 0 leaves it to the backend.

    Raises:
        ArtifactError: the directory is missing or damaged.
        ConfigError: a precision that the backend has not, or a GPU that is not there.
    """
    if not (artifact / "config.json").is_file():
        raise ArtifactError(
            f"{artifact} is not a model artifact (no config.json); `make run` makes one, or give its directory"
        )
    backend = usable_backend(artifact, backend)
    # Threads do not spin: the event loop and those that decode need the cores in between.
    encoder = load_encoder(artifact, modalities=modalities, backend=backend, dtype=dtype, threads=threads, spin=False)
    if backend == "torch":
        encoder = _placed(encoder, device, threads)
    return Engine(
        encoder, vector_space=vector_space_id(artifact), quantizer=load_quantizer(artifact), guard=_guard(backend)
    )


def vector_space_id(artifact: Path) -> str:
    """Identity of the vector space: 16 hex digits over the digests of every file that shapes a vector.

    Raises:
        ArtifactError: ``digests.json`` is missing or is not a mapping of files to digests.
    """
    try:
        digests = json.loads((artifact / "digests.json").read_text(encoding="utf-8"))
        relevant = {name: value for name, value in digests.items() if not name.startswith(NOT_THE_SPACE)}
    except (OSError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{artifact}/digests.json does not identify the model: {error}") from error
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


def default_dimension(engine: Engine, configured: int | None) -> int:
    """The dimension of answers that ask for none.

    Raises:
        ConfigError: the configured one is not offered by the model.
    """
    return engine.dimensions[0] if configured is None else engine.check_dimension(configured)


def _placed(encoder: Encoder, device: str, threads: int) -> Encoder:
    """A torch encoder on its device."""
    import torch

    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ConfigError(
            "device 'cuda': torch finds no usable GPU here; give device 'auto' or 'cpu', or install a build of torch "
            "for this driver"
        )
    if threads:
        torch.set_num_threads(threads)
    if device == "cpu" or not has_gpu:
        return encoder
    module: Any = encoder
    return cast("Encoder", module.to("cuda"))


def _guard(backend: Backend) -> Callable[[], AbstractContextManager[Any]]:
    if backend != "torch":
        return nullcontext
    import torch

    return torch.inference_mode
