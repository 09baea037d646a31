"""Configuration of the unified encoder: it travels in the artifact, so serving cannot differ from training."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from model.config import Config
from model.content import Modality
from model.encoder import Limits
from model.prompts import E5, resolve_style
from model.towers.config import AudioTowerConfig, ImageTowerConfig

SAMPLE_RATE = 16_000
Dropout = Annotated[float, Field(ge=0, lt=1)]


class ImageConfig(Config):
    """How a picture becomes tokens.

    The tower's feature map is pooled to ``cells`` x ``cells``; ``tokens_side`` squared tokens each see a square
    block of neighbouring cells, so that the place of a thing in the picture survives.
    """

    size: int = Field(192, ge=32, le=1024, description="side of the padded square in pixels")
    cells: int = Field(2, ge=1)
    tokens_side: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        if self.cells % self.tokens_side:
            raise ValueError(f"cells={self.cells} must be a multiple of tokens_side={self.tokens_side}")
        return self


class VideoConfig(Config):
    """How a clip becomes tokens: frames through the image tower, one token per sampled frame.

    ``stills`` tell a clip what pictures have taught. What moves is then learned less surely (docs/experiments.md).
    """

    size: int = Field(96, ge=32, le=1024, description="side of the padded square frame in pixels")
    max_frames: int = Field(8, ge=1, le=256)
    cells: int = Field(3, ge=1, description="each frame keeps cells x cells places")
    frames_per_second: float | None = Field(
        None, gt=0, description="with it a short clip takes fewer than max_frames frames, spread evenly all the same"
    )
    stills: int = Field(
        0, ge=0, le=16, description="frames, spread evenly, that are read as pictures besides; they follow the frames"
    )
    audio_track: bool = Field(False, description="the tokens of a clip's own sound follow those of its frames")


class AudioConfig(Config):
    """How sound becomes tokens: windows of at most ``window_seconds``, one token per ``token_seconds``."""

    window_seconds: float = Field(6.0, gt=0, le=30)
    token_seconds: float = Field(0.5, gt=0)
    cells: int = Field(5, ge=1, description="time slices that one token sees, in order")


class DocumentConfig(Config):
    """How a PDF becomes tokens: each page like a picture, then the words of its text layer.

    The words are on by default: no small picture of a page can be read.
    """

    text_layer: bool = True
    page_text_tokens: int = Field(64, ge=1, description="the text layer of a page is cut at its end to these tokens")


class UnifiedConfig(Config):
    """The whole unified encoder. ``trunk`` is a transformers configuration of a bidirectional text encoder."""

    kind: Literal["unified"] = "unified"
    trunk: dict[str, Any]
    image_tower: ImageTowerConfig | None = None
    audio_tower: AudioTowerConfig | None = None
    image: ImageConfig = ImageConfig()
    video: VideoConfig = VideoConfig()
    audio: AudioConfig = AudioConfig()
    document: DocumentConfig = DocumentConfig()
    projector_reduced: int = Field(192, description="channels kept per cell before cells are joined")
    projector_hidden: int = 768
    projector_dropout: dict[Modality, Dropout] = Field(default_factory=dict, description="modality -> rate; else none")
    dimensions: tuple[int, ...] = (384, 256, 128, 64)
    max_text_tokens: int = Field(128, ge=8, description="tokens of one text part, its prefix among them")
    truncate: Literal["end", "error"] = Field("end", description="longer texts are cut at the end, or refused")
    prompts: Annotated[dict[str, str], BeforeValidator(resolve_style)] = Field(
        default_factory=lambda: dict(E5), description="task -> prefix of its texts, or the name of a style"
    )
    limits: Limits = Limits()
    source: str = Field("random", description="where the initial weights came from")

    @model_validator(mode="after")
    def _dimensions_descend(self) -> Self:
        if list(self.dimensions) != sorted(set(self.dimensions), reverse=True):
            raise ValueError(f"dimensions={self.dimensions} must be distinct and largest first")
        return self

    @model_validator(mode="after")
    def _slices_fit(self) -> Self:
        if self.audio_tower is not None:
            token, piece = self.token_samples, self.audio_tower.slice_samples
            if token % (piece * self.audio.cells):
                raise ValueError(
                    f"a token of {token / 160:g} x 10 ms does not divide into audio.cells={self.audio.cells} cells of "
                    f"whole outputs of the audio tower, one each {piece / 160:g} x 10 ms: change audio.token_seconds "
                    "or audio.cells"
                )
        return self

    @model_validator(mode="after")
    def _sound_of_clips_has_a_tower(self) -> Self:
        if self.video.audio_track and self.audio_tower is None:
            raise ValueError("video.audio_track needs an audio tower: configure audio_tower, or leave the track out")
        return self

    @property
    def token_samples(self) -> int:
        """Samples at 16 kHz that one audio token stands for."""
        return round(self.audio.token_seconds * SAMPLE_RATE)

    @property
    def modalities(self) -> frozenset[Modality]:
        """Modalities that this configuration can embed."""
        found = {Modality.TEXT}
        if self.image_tower is not None:
            found |= {Modality.IMAGE, Modality.VIDEO, Modality.DOCUMENT}
        if self.audio_tower is not None:
            found.add(Modality.AUDIO)
        return frozenset(found)

    def towers(self, modalities: frozenset[Modality]) -> frozenset[Modality]:
        """Whose towers and projectors the ``modalities`` need: pages are pictures; clips may have stills and sound."""
        needed = set(modalities) - {Modality.TEXT, Modality.DOCUMENT}
        if Modality.DOCUMENT in modalities or (Modality.VIDEO in modalities and self.video.stills):
            needed.add(Modality.IMAGE)
        if Modality.VIDEO in modalities and self.video.audio_track:
            needed.add(Modality.AUDIO)
        return frozenset(needed)
