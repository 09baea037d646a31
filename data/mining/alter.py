"""The same content in other bytes, as when a picture is saved anew: what a corpus holds of duplicates that no digest
finds.
"""

import io
from collections.abc import Callable, Mapping

from model.content import Content, Modality, Part
from model.encoder import Limits

JPEG_QUALITY = 80
# Of the longer side of a picture, and of the loudness of a sound.
SMALLER, QUIETER = 7 / 8, 0.8
LONGEST = 512


def altered(content: Content) -> Content | None:
    """The content with every part saved anew; None where a part is of a kind that cannot be."""
    parts = []
    for part in content.parts:
        change = ALTERATIONS.get(part.modality)
        if change is None:
            return None
        parts.append(change(part))
    return Content(tuple(parts), task=content.task, title=content.title)


def _text(part: Part) -> Part:
    """With another end: a full stop where there is none, none where there is one."""
    words = (part.text or "").rstrip()
    return Part(Modality.TEXT, text=words.rstrip(".") or words if words.endswith(".") else f"{words}.")


def _image(part: Part) -> Part:
    """Smaller, over white, as JPEG."""
    from PIL import Image

    from model.media.image import decode_picture

    assert part.data is not None
    picture = Image.fromarray(decode_picture(part.data, Limits(), longest=LONGEST))
    size = (max(1, round(picture.width * SMALLER)), max(1, round(picture.height * SMALLER)))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Part(Modality.IMAGE, data=buffer.getvalue())


def _audio(part: Part) -> Part:
    """Quieter, at 16 kHz, as FLAC."""
    import soundfile

    from model.media.audio import decode_audio
    from model.media.mel import SAMPLE_RATE

    assert part.data is not None
    buffer = io.BytesIO()
    soundfile.write(buffer, QUIETER * decode_audio(part.data, Limits()), SAMPLE_RATE, format="FLAC")
    return Part(Modality.AUDIO, data=buffer.getvalue())


ALTERATIONS: Mapping[Modality, Callable[[Part], Part]] = {
    Modality.TEXT: _text,
    Modality.IMAGE: _image,
    Modality.AUDIO: _audio,
}
