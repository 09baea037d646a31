"""Contents to the inputs of sentence-transformers: checked, decoded by our own readers, never a path or an address.

The library takes a string that looks like the address of a picture for one and fetches it. So text only ever travels
as ``{"text": ...}`` or inside a chat message, and media only as decoded pixels and samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import soxr
from PIL import Image

from model.content import Content, Modality, Part
from model.encoder import MOST_CHARACTERS_PER_TOKEN, Limits
from model.errors import CapabilityError, ContentError
from model.media.audio import decode_audio
from model.media.image import decode_picture
from model.media.mel import SAMPLE_RATE
from model.media.video import Video, decode_video
from model.prompts import prompted_parts
from model.sentence_transformer.config import SentenceTransformerConfig

# Frames carry their time in this resolution: index / rate = seconds.
TIME_RATE = 1000


@dataclass
class Item:
    """One content as the library takes it.

    Attributes:
        value: input for ``SentenceTransformer.preprocess``.
        key: contents with equal keys may share a batch: whether they are chat messages (among those the library takes
            the rest for messages too), their modalities, the lengths of their sounds.
        pictures: for each picture that the processor sees the modality of its part (a frame counts as video).
        video_metadata: times of the frames of each clip that goes through a video processor.
    """

    value: Any
    key: tuple[Any, ...]
    pictures: list[Modality] = field(default_factory=list)
    video_metadata: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text_only(self) -> bool:
        """Whether the content may be cut at its end."""
        return self.key[1:] == (Modality.TEXT,)


@dataclass(frozen=True)
class Abilities:
    """What a loaded model takes: its modalities, chat messages, combinations without messages, its sample rate."""

    modalities: frozenset[Modality]
    messages: bool
    combinations: frozenset[frozenset[str]]
    sample_rate: int
    control_tokens: tuple[str, ...]


class InputMaker:
    """Makes the library's inputs for one model; thread-safe."""

    def __init__(self, config: SentenceTransformerConfig, limits: Limits, abilities: Abilities) -> None:
        self.config = config
        self.limits = limits
        self.abilities = abilities
        self._readers: dict[Modality, Callable[[Part, Item], list[dict[str, Any]]]] = {
            Modality.TEXT: self._text,
            Modality.IMAGE: self._image,
            Modality.AUDIO: self._audio,
            Modality.VIDEO: self._clip,
        }

    def __call__(self, content: Content) -> Item:
        """Check and decode one content.

        Raises:
            ContentError: a limit is exceeded, a part is undecodable or holds a control token of the model.
            CapabilityError: the model lacks a modality or cannot combine parts.
        """
        self._check(content)
        item = Item(None, ())
        blocks = [
            b
            for part in prompted_parts(content, self.config.prompts or {})
            for b in self._readers[part.modality](part, item)
        ]
        lengths = tuple(len(b["audio"]) for b in blocks if b["type"] == "audio")
        item.value = self._arranged(blocks)
        item.key = (isinstance(item.value, list), *sorted(content.modalities), *lengths)
        return item

    def combines(self, kinds: Sequence[str]) -> bool:
        """Whether parts of these kinds can be one content: by a chat message, as texts in a row, or by a known pair."""
        distinct = frozenset(kinds)
        known = len(distinct) == len(kinds) and distinct in self.abilities.combinations
        return len(kinds) == 1 or self.abilities.messages or distinct == {"text"} or known

    def _check(self, content: Content) -> None:
        limits = self.limits
        if len(content.parts) > limits.max_parts:
            raise ContentError(
                f"the content has {len(content.parts)} parts, more than max_parts={limits.max_parts}",
                code="too_many_parts",
                limit="max_parts",
            )
        if missing := content.modalities - self.abilities.modalities:
            raise CapabilityError(
                f"this model embeds {', '.join(sorted(self.abilities.modalities))}, not {', '.join(sorted(missing))}"
            )

    def _text(self, part: Part, _: Item) -> list[dict[str, Any]]:
        value = part.text or ""
        for token in self.abilities.control_tokens:
            if token in value:
                raise ContentError(
                    f"the text holds {token!r}, by which this model marks media: take it out", code="control_token"
                )
        return [{"type": "text", "text": value[: self.limits.max_tokens * MOST_CHARACTERS_PER_TOKEN]}]

    def _image(self, part: Part, item: Item) -> list[dict[str, Any]]:
        item.pictures.append(Modality.IMAGE)
        picture = decode_picture(part.data or b"", self.limits, longest=self.config.image_side)
        return [{"type": "image", "image": Image.fromarray(picture)}]

    def _audio(self, part: Part, _: Item) -> list[dict[str, Any]]:
        samples = decode_audio(part.data or b"", self.limits)
        rate = self.abilities.sample_rate
        return [
            {"type": "audio", "audio": samples if rate == SAMPLE_RATE else soxr.resample(samples, SAMPLE_RATE, rate)}
        ]

    def _clip(self, part: Part, item: Item) -> list[dict[str, Any]]:
        config = self.config
        clip = decode_video(part.data or b"", self.limits, size=config.video_side, max_frames=config.max_frames)
        if config.video == "native":
            item.video_metadata.append(_metadata(clip))
            return [{"type": "video", "video": clip.frames_FSS3.transpose(0, 3, 1, 2)}]
        item.pictures += [Modality.VIDEO] * len(clip.frames_FSS3)
        return [{"type": "image", "image": Image.fromarray(frame)} for frame in clip.frames_FSS3]

    def _arranged(self, blocks: list[dict[str, Any]]) -> Any:
        kinds: list[str] = [b["type"] for b in blocks]
        if not self.combines(kinds):
            raise CapabilityError(
                f"this model cannot embed {' + '.join(kinds)} as one content: it takes one part at a time; send the "
                "parts as contents of their own, or use a model with a chat template"
            )
        if len(blocks) == 1:
            return {kinds[0]: self._single(blocks[0])}
        if self.abilities.messages:
            return [{"role": "user", "content": blocks}]
        if set(kinds) == {"text"}:
            return {"text": "\n".join(b["text"] for b in blocks)}
        return {b["type"]: self._single(b) for b in blocks}

    def _single(self, block: dict[str, Any]) -> Any:
        value = block[block["type"]]
        return {"array": value, "sampling_rate": self.abilities.sample_rate} if block["type"] == "audio" else value


def _metadata(clip: Video) -> dict[str, Any]:
    """What transformers wants to know about sampled frames: their indices at ``TIME_RATE`` are their times."""
    indices = [round(float(t) * TIME_RATE) for t in clip.times_F]
    return {
        "total_num_frames": indices[-1] + 1,
        "fps": float(TIME_RATE),
        "duration": (indices[-1] + 1) / TIME_RATE,
        "frames_indices": indices,
    }
