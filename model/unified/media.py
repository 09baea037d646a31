"""Media parts to tower inputs for the unified encoder.

Shape legend: S pixels a side, F mel frames, T tokens, N samples.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.content import Modality, Part
from model.media.audio import audio_seconds, decode_audio
from model.media.document import decode_document
from model.media.ffmpeg import read_clip
from model.media.image import decode_image, fit_square
from model.media.mel import SAMPLE_RATE
from model.media.track import decode_track, track_samples
from model.media.video import pictures_at, spread, times_of_frames
from model.unified.batch import Unit
from model.unified.config import UnifiedConfig
from model.unified.sound import sound_input

COUNTS_KEPT = 100_000
IMAGE, VIDEO, AUDIO = Modality.IMAGE.value, Modality.VIDEO.value, Modality.AUDIO.value


class Count(NamedTuple):
    """Tokens of one part: those of towers, and text that the part brings along (the text layer of a document)."""

    media: int
    text: int = 0


class MediaReader:
    """Decodes one media part to units: tower inputs with the number of tokens each yields.

    Args:
        config: sizes, limits and options.
        tokenise: text to ids, without special tokens; for the text layer of documents.
    """

    def __init__(self, config: UnifiedConfig, tokenise: Callable[[str], list[int]]) -> None:
        self.config = config
        self._tokenise = tokenise
        self._counts: dict[tuple[Modality, str], Count] = {}
        self._readers: dict[Modality, Callable[[bytes], list[Unit]]] = {
            Modality.IMAGE: self._image,
            Modality.VIDEO: self._video,
            Modality.AUDIO: self._audio,
            Modality.DOCUMENT: self._document,
        }
        self._counters: dict[Modality, Callable[[bytes], Count]] = {
            Modality.IMAGE: lambda _: Count(config.image.tokens_side**2),
            Modality.VIDEO: self._count_video,
            Modality.AUDIO: self._count_audio,
            Modality.DOCUMENT: self._count_document,
        }

    def units(self, part: Part) -> list[Unit]:
        """Decode ``part``; raises ContentError when it cannot be decoded or exceeds a limit."""
        units = self._readers[part.modality](part.data or b"")
        self._keep(part, Count(sum(unit.tokens for unit in units), sum(len(unit.ids) for unit in units)))
        return units

    def count(self, part: Part) -> Count:
        """Tokens that ``part`` will occupy, from headers and indexes: decoding gives these counts or fails."""
        known = self._counts.get((part.modality, part.digest))
        return known if known is not None else self._keep(part, self._counters[part.modality](part.data or b""))

    def _keep(self, part: Part, count: Count) -> Count:
        if len(self._counts) >= COUNTS_KEPT:
            self._counts.clear()
        self._counts[part.modality, part.digest] = count  # the same GIF may be a picture and a clip
        return count

    def _image(self, data: bytes) -> list[Unit]:
        return [self._picture(decode_image(data, self.config.limits, size=self.config.image.size))]

    def _picture(self, pixels_SS3: NDArray[np.uint8], ids: tuple[int, ...] = ()) -> Unit:
        inputs = _channels_first(pixels_SS3)
        return Unit(IMAGE, tokens=self.config.image.tokens_side**2, first=0, inputs=inputs, ids=ids)

    def _video(self, data: bytes) -> list[Unit]:
        config, limits = self.config.video, self.config.limits
        clip = read_clip(data, limits)
        times = times_of_frames(clip, config.max_frames, config.frames_per_second)
        units = self._shown(pictures_at(clip, limits, times), len(times))
        if config.audio_track and clip.has_sound:
            units += self._sound(decode_track(clip, limits))
        return units

    def _shown(self, pictures: Iterable[Image.Image], count: int) -> list[Unit]:
        """Units of the ``count`` frames of a clip, then those of its stills."""
        config, again = self.config, set(spread(self.config.video.stills, count))
        frames, stills = [], []
        for i, picture in enumerate(pictures):
            inputs = _channels_first(fit_square(picture, config.video.size))
            frames.append(Unit(VIDEO, tokens=1, first=i, inputs=inputs))
            if i in again:
                stills.append(self._picture(fit_square(picture, config.image.size)))
        return frames + stills

    def _count_video(self, data: bytes) -> Count:
        config = self.config.video
        clip = read_clip(data, self.config.limits)
        frames = len(times_of_frames(clip, config.max_frames, config.frames_per_second))
        stills = len(spread(config.stills, frames)) * self.config.image.tokens_side**2
        sound = self._sound_tokens(track_samples(clip)) if config.audio_track and clip.has_sound else 0
        return Count(frames + stills + sound)

    def _audio(self, data: bytes) -> list[Unit]:
        return self._sound(decode_audio(data, self.config.limits))

    def _count_audio(self, data: bytes) -> Count:
        return Count(self._sound_tokens(round(audio_seconds(data, self.config.limits) * SAMPLE_RATE)))

    def _sound(self, samples_N: NDArray[np.float32]) -> list[Unit]:
        units = []
        for start, stop, tokens in self._windows(len(samples_N)):
            inputs = sound_input(self.config.audio_tower, samples_N[start:stop], tokens * self.config.token_samples)
            units.append(Unit(AUDIO, tokens=tokens, first=0, inputs=inputs))
        return units

    def _sound_tokens(self, samples: int) -> int:
        return sum(tokens for _, _, tokens in self._windows(samples))

    def _windows(self, samples: int) -> list[tuple[int, int, int]]:
        """(start, stop, tokens) of each window; the last is padded with silence to a whole token."""
        size = round(self.config.audio.window_seconds * SAMPLE_RATE)
        spans = [(start, min(start + size, samples)) for start in range(0, max(samples, 1), size)]
        return [(a, b, max(1, -(-(b - a) // self.config.token_samples))) for a, b in spans]

    def _document(self, data: bytes) -> list[Unit]:
        config = self.config
        pages = decode_document(data, config.limits, size=config.image.size, text=config.document.text_layer)
        return [self._picture(p.pixels_SS3, self._page_ids(p.text)) for p in pages if p.pixels_SS3 is not None]

    def _count_document(self, data: bytes) -> Count:
        config = self.config
        pages = decode_document(data, config.limits, size=None, text=config.document.text_layer)
        return Count(len(pages) * config.image.tokens_side**2, sum(len(self._page_ids(page.text)) for page in pages))

    def _page_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenise(text)[: self.config.document.page_text_tokens]) if text else ()


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Picture [S, S, 3] to [3, S, S], in bytes: the tower makes numbers of them where it runs."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
