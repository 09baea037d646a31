"""Media parts to tower inputs for the unified encoder.

Shape legend: S pixels a side, F mel frames, T tokens.
"""

from collections.abc import Callable

import numpy as np

from model.content import Modality, Part
from model.media.audio import decode_audio
from model.media.image import decode_image
from model.media.mel import SAMPLE_RATE
from model.media.video import decode_video
from model.unified.batch import Array, Unit
from model.unified.config import UnifiedConfig
from model.unified.sound import sound_input

COUNTS_KEPT = 100_000


class MediaReader:
    """Decodes one media part to units: tower inputs with the number of tokens each yields."""

    def __init__(self, config: UnifiedConfig) -> None:
        self.config = config
        self._counts: dict[str, int] = {}
        self._readers: dict[Modality, Callable[[bytes], list[Unit]]] = {
            Modality.IMAGE: self._image,
            Modality.VIDEO: self._video,
            Modality.AUDIO: self._audio,
        }

    def units(self, part: Part) -> list[Unit]:
        """Decode ``part``; raises ContentError when it cannot be decoded or exceeds a limit."""
        return self._readers[part.modality](part.data or b"")

    def count_tokens(self, part: Part) -> int:
        """Tokens that ``part`` will occupy; sound and clips are decoded for it, since headers may lie."""
        if part.modality is Modality.IMAGE:
            return self.config.image.tokens_side**2
        if part.digest not in self._counts:
            if len(self._counts) >= COUNTS_KEPT:
                self._counts.clear()
            self._counts[part.digest] = sum(unit.tokens for unit in self.units(part))
        return self._counts[part.digest]

    def _image(self, data: bytes) -> list[Unit]:
        config = self.config.image
        pixels = decode_image(data, self.config.limits, size=config.size)
        return [Unit(tokens=config.tokens_side**2, first=0, inputs=_channels_first(pixels))]

    def _video(self, data: bytes) -> list[Unit]:
        config = self.config.video
        frames = decode_video(data, self.config.limits, size=config.size, max_frames=config.max_frames).frames_FSS3
        return [Unit(tokens=1, first=i, inputs=_channels_first(frame)) for i, frame in enumerate(frames)]

    def _audio(self, data: bytes) -> list[Unit]:
        samples = decode_audio(data, self.config.limits)
        units = []
        for start, stop, tokens in self._windows(len(samples)):
            inputs = sound_input(self.config.audio_tower, samples[start:stop], tokens * self.config.token_samples)
            units.append(Unit(tokens=tokens, first=0, inputs=inputs))
        return units

    def _windows(self, samples: int) -> list[tuple[int, int, int]]:
        """(start, stop, tokens) of each window; the last is padded with silence to a whole token."""
        size = round(self.config.audio.window_seconds * SAMPLE_RATE)
        spans = [(start, min(start + size, samples)) for start in range(0, max(samples, 1), size)]
        return [(a, b, max(1, -(-(b - a) // self.config.token_samples))) for a, b in spans]


def _channels_first(pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> Array:
    """Picture [S, S, 3] in 0..255 to float [3, S, S]."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
