"""Encoding of the starter corpus's media: small WebP pictures, Ogg/Opus speech, MP4 clips.

Every function is deterministic for given library versions: containers are written bit-exact, with no time stamps or
random stream serials. Shape legend: T frames or samples, H height, W width, 3 RGB.
"""

import io
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WEBP_QUALITY = 80
SPEECH_RATE = 16_000
SPEECH_BITS_PER_SECOND = 16_000
SPEECH_SECONDS = 6.0
OPUS_PACKET = SPEECH_RATE * 60 // 1000
SILENCE_LEVEL = 0.01
CLIP_CRF = "27"


# Old drawings give their size in print units and no viewBox, which the renderer refuses; their programs meant 90 dpi.
PIXELS_PER_UNIT = {"pt": 1.25, "mm": 90 / 25.4, "cm": 90 / 2.54, "in": 90.0}
_ROOT_TAG = re.compile(r"<svg\b[^>]*>")
_ROOT_SIZE = re.compile(r'\b(width|height)="([\d.]+)(pt|mm|cm|in)"')


def open_picture(data: bytes) -> Image.Image:
    """Decode a picture to RGBA."""
    return Image.open(io.BytesIO(data)).convert("RGBA")


def render_svg(svg: str, size: int) -> Image.Image:
    """Render an SVG to RGBA that fits a square of ``size`` pixels."""
    import resvg_py

    if (root := _ROOT_TAG.search(svg)) and "viewBox" not in root[0]:
        tag = _ROOT_SIZE.sub(lambda m: f'{m[1]}="{float(m[2]) * PIXELS_PER_UNIT[m[3]]:.4f}"', root[0])
        svg = svg[: root.start()] + tag + svg[root.end() :]
    return open_picture(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)))


def load_picture(path: Path, size: int) -> Image.Image:
    """Load a PNG, WebP or SVG file as RGBA with at most ``size`` pixels on the long side."""
    if path.suffix == ".svg":
        picture = render_svg(path.read_text(encoding="utf-8", errors="replace"), size)
    else:
        picture = open_picture(path.read_bytes())
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    return picture


def crop_to_content(picture: Image.Image) -> Image.Image:
    """Cut the fully transparent margin away."""
    box = picture.getchannel("A").getbbox()
    return picture.crop(box) if box else picture


def over(picture: Image.Image, colour: str = "white") -> Image.Image:
    """Flatten an RGBA picture over a plain colour."""
    canvas = Image.new("RGBA", picture.size, colour)
    canvas.alpha_composite(picture)
    return canvas.convert("RGB")


def encode_webp(picture: Image.Image) -> bytes:
    """Encode a picture as WebP; transparent pixels are put over white first (the decoder would do the same)."""
    buffer = io.BytesIO()
    (over(picture) if picture.mode == "RGBA" else picture).save(buffer, "WEBP", quality=WEBP_QUALITY, method=6)
    return buffer.getvalue()


def read_speech(path: Path) -> npt.NDArray[np.float32]:
    """Read a recording as 16 kHz mono ``samples_T`` in -1..1: silent edges cut, at most 6 s, peak level 0.7."""
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE)
    with av.open(str(path)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    samples_T = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.float32)
    return _normalise(samples_T)


def _normalise(samples_T: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    peak = float(np.abs(samples_T).max(initial=0.0))
    if peak < SILENCE_LEVEL:
        raise ValueError(f"recording is silent (peak {peak:.4f} of full scale)")
    loud = np.flatnonzero(np.abs(samples_T) > peak * 0.02)
    margin = SPEECH_RATE // 20
    start, stop = max(0, int(loud[0]) - margin), int(loud[-1]) + 2 * margin
    return samples_T[start:stop][: int(SPEECH_SECONDS * SPEECH_RATE)] * np.float32(0.7 / peak)


def encode_opus(samples_T: npt.NDArray[np.float32]) -> bytes:
    """Encode 16 kHz mono ``samples_T`` as Ogg/Opus, shortened by up to 60 ms so that it ends in the middle of a packet.

    A stream whose end falls on a packet's edge gets a last packet that is all padding, which libsndfile refuses.
    """
    import av

    length = len(samples_T) - (len(samples_T) - OPUS_PACKET // 2) % OPUS_PACKET
    if length <= 0:
        raise ValueError(f"recording of {len(samples_T)} samples is too short; at least {OPUS_PACKET // 2} are needed")
    samples_T = np.ascontiguousarray(samples_T[:length])
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SPEECH_RATE, layout="mono")
        stream.bit_rate = SPEECH_BITS_PER_SECOND
        stream.options = {"application": "voip", "vbr": "on", "frame_duration": "60", "flags": "+bitexact"}
        frame = av.AudioFrame.from_ndarray(samples_T.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = SPEECH_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def encode_mp4(frames_THW3: npt.NDArray[np.uint8], frames_per_second: int) -> bytes:
    """Encode RGB frames as an H.264 MP4 (H and W even)."""
    import av

    buffer = io.BytesIO()
    _, height, width, _ = frames_THW3.shape
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # One thread, no scene cuts and nothing that depends on the processor keep the bytes the same on every machine;
        # without the last, some clips differed from one encoding to the next in a single process.
        stream.options = {
            "crf": CLIP_CRF,
            "preset": "slow",
            "threads": "1",
            "flags": "+bitexact",
            "x264-params": "scenecut=0:keyint=64:cpu-independent=1",
        }
        # The encoder's own note (an SEI unit) would cost 600 bytes a clip.
        strip = av.BitStreamFilterContext("filter_units=remove_types=6", stream)
        for picture_HW3 in frames_THW3:
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture_HW3, format="rgb24")):
                container.mux(strip.filter(packet))
        for packet in stream.encode(None):
            container.mux(strip.filter(packet))
        container.mux(strip.filter(None))
    return buffer.getvalue()
