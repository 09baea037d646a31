"""Load a multimodal processor where torchvision is missing.

transformers' video processors need torchvision, and a processor that has one cannot be loaded without it, not even for
text. Its binaries do not load beside the CPU build of torch, so it cannot be a dependency. Here the video processor is
replaced by one that keeps its settings, so that they survive a save, and refuses to work.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import processing_utils
from transformers.processing_utils import ProcessorMixin
from transformers.utils import is_torchvision_available
from transformers.video_processing_utils import VideoProcessorMixin

from model.errors import ArtifactError

_LOADING = threading.Lock()
VIDEO = "video_processor"


class KeptVideoProcessor(VideoProcessorMixin):  # type: ignore[misc]
    """Holds the settings of a video processor that cannot run here."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    def to_dict(self) -> dict[str, Any]:
        """The settings as they were read."""
        return dict(self.settings)

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse.

        Raises:
            ImportError: always.
        """
        raise ImportError("this model's video processor needs torchvision")

    @classmethod
    def from_pretrained(cls, source: str, *, subfolder: str = "", **_: Any) -> "KeptVideoProcessor":
        """Read the settings of a local model: of its own file, or of the processor's.

        Raises:
            ArtifactError: the model has no settings of a video processor.
        """
        directory = Path(source) / subfolder
        for name, key in (("processor_config.json", VIDEO), ("video_preprocessor_config.json", None)):
            if (path := directory / name).is_file():
                document = json.loads(path.read_text(encoding="utf-8"))
                if found := document.get(key) if key else document:
                    return cls(found)
        raise ArtifactError(f"{directory} has no settings of a video processor")


@contextmanager
def processors_loadable() -> Iterator[None]:
    """Within the block, processors with a video processor can be made with or without torchvision."""
    if is_torchvision_available():
        yield
        return
    check = ProcessorMixin.check_argument_for_proper_class

    def lenient(self: Any, name: str, argument: Any) -> Any:
        return KeptVideoProcessor if isinstance(argument, KeptVideoProcessor) else check(self, name, argument)

    with _LOADING:
        loaders = processing_utils.MODALITY_TO_AUTOPROCESSOR_MAPPING
        others = {name: loaders[name] for name in loaders.keys() - {VIDEO}}
        processing_utils.MODALITY_TO_AUTOPROCESSOR_MAPPING = {**others, VIDEO: KeptVideoProcessor}
        ProcessorMixin.check_argument_for_proper_class = lenient
        try:
            yield
        finally:
            processing_utils.MODALITY_TO_AUTOPROCESSOR_MAPPING = loaders
            ProcessorMixin.check_argument_for_proper_class = check
