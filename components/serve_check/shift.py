"""Inputs that drifted on purpose: the same kinds of content, visibly or audibly different.

Shape legend: S samples of sound.
"""

import io
import random
import string
from collections.abc import Callable

import av
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from model.content import Content, Modality, Part

BLUR_PIXELS = 3.0
SLOWER = 1.6
NOISE = 0.5
FRAMES_PER_SECOND = 8


def shift_content(content: Content, seed: int) -> Content:
    """Transform every part; deterministic in ``seed``."""
    rng = random.Random(seed)
    return Content(tuple(SHIFTS[part.modality](part, rng) for part in content.parts), task=content.task)


def shift_text(part: Part, rng: random.Random) -> Part:
    """Shouted nonsense of about the same length: other words, other letters, capitals and exclamation marks."""
    words = [len(word) for word in (part.text or "").split()] or [4]
    nonsense = ["".join(rng.choices(string.ascii_uppercase, k=length)) for length in words]
    return Part(Modality.TEXT, text=" ".join(nonsense) + "!!!")


def shift_picture(picture: Image.Image) -> Image.Image:
    """Inverted and blurred."""
    return ImageOps.invert(picture.convert("RGB")).filter(ImageFilter.GaussianBlur(BLUR_PIXELS))


def shift_image(part: Part, _: random.Random) -> Part:
    """Inverted and blurred, as PNG."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(part.data or b"")) as picture:
        shift_picture(picture).save(buffer, "PNG")
    return Part(Modality.IMAGE, data=buffer.getvalue())


def shift_audio(part: Part, rng: random.Random) -> Part:
    """Slower and deeper, under noise half as strong as the speech, as WAV."""
    samples, rate = soundfile.read(io.BytesIO(part.data or b""), dtype="float32", always_2d=True)
    sound_S: NDArray[np.float32] = samples.mean(axis=1)
    slow_S = np.interp(np.arange(0, len(sound_S) - 1, 1 / SLOWER), np.arange(len(sound_S)), sound_S)
    level = float(np.sqrt(np.mean(slow_S**2))) if len(slow_S) else 0.0
    noise_S = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(slow_S)) * max(NOISE * level, 1e-3)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(slow_S + noise_S, -1, 1), rate, format="WAV", subtype="PCM_16")
    return Part(Modality.AUDIO, data=buffer.getvalue())


def shift_video(part: Part, _: random.Random) -> Part:
    """Every frame inverted and blurred, as MP4."""
    with av.open(io.BytesIO(part.data or b""), "r") as source:
        pixels = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    frames = [shift_picture(Image.fromarray(picture)) for picture in pixels]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as target:
        stream = target.add_stream("mpeg4", rate=FRAMES_PER_SECOND)
        stream.width, stream.height = (side - side % 2 for side in frames[0].size)  # the codec needs even sides
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            even = np.asarray(frame.resize((stream.width, stream.height)))
            target.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        target.mux(stream.encode())
    return Part(Modality.VIDEO, data=buffer.getvalue())


SHIFTS: dict[Modality, Callable[[Part, random.Random], Part]] = {
    Modality.TEXT: shift_text,
    Modality.IMAGE: shift_image,
    Modality.AUDIO: shift_audio,
    Modality.VIDEO: shift_video,
}
