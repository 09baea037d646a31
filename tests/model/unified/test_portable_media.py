"""Sound, clips and documents in plain sentence-transformers, in a process that cannot see this repository."""

import io
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pypdfium2
import pytest
import soundfile
import torch
from PIL import Image

from model.artifact import load_encoder
from model.content import Content, audio, document, image, video
from model.encoder import Limits
from model.encoding import encode_contents
from model.media.ffmpeg import read_clip
from model.unified.config import UnifiedConfig
from model.unified.encoder import UnifiedEncoder
from model.unified.portable import MODELLING_FILE
from model.weights.tokenizer import byte_tokenizer
from tests.conftest import make_ogg, make_pdf, make_png
from tests.model.towers.tiny import TINY_SPECTROGRAM, TINY_VISION, TINY_WAVEFORM
from tests.model.trunks import TINY_TRUNKS, shake
from tests.model.unified.test_portable import ALONE, run_alone

# Others of the towers, small windows, frames by time, stills and the sound of clips.
OTHERS = {
    "hearing": (
        TINY_VISION["siglip"],
        TINY_WAVEFORM["wav2vec2"],
        {"audio_track": True, "frames_per_second": 4, "stills": 2},
    ),
    "spectrogram": (TINY_VISION["dinov3"], TINY_SPECTROGRAM, {}),
}
# In the library's code -> a fault that must show.
FAULTS = {
    "DYNAMIC_RANGE = 8.0": "DYNAMIC_RANGE = 2.0",
    "(np.arange(max_frames) + 0.5)": "(np.arange(max_frames) + 0.1)",
    "written(page) if request": "'' if request",
}

INPUTS = """
import json


def inputs(out):
    read = lambda name: (Path(out) / name).read_bytes()
    stereo, frames = np.load(Path(out) / "stereo.npy"), np.load(Path(out) / "frames.npy")
    array = {"array": stereo, "sampling_rate": 44_100}
    timed = {"array": frames, "video_metadata": {"fps": 8}, "audio": None}
    told = json.loads(read("uneven.json"))
    uneven = {"array": list(map(Image.fromarray, frames)), "video_metadata": told, "audio": None}
    sound_of_clip = {"array": np.load(Path(out) / "track.npy"), "sampling_rate": 16_000}
    pages = [(Image.open(Path(out) / f"page{i}.png"), words) for i, words in enumerate(("Hello  world", "Second page"))]
    return {
        "sound, encoded": [{"audio": read("speech.ogg")}, {"audio": Path(out) / "stereo.wav"}, read("speech.ogg")],
        "sound, decoded": [{"audio": array}, {"audio": {**array, "array": torch.from_numpy(stereo)}}, array],
        "clip, encoded": [{"video": str(Path(out) / "clip.mp4")}, read("clip.mp4"), {"video": read("moving.gif")}],
        "clip, decoded": [{"video": timed}, timed, {"video": {**timed, "array": frames.transpose(0, 3, 1, 2)}}],
        "clip with sound, encoded": [{"video": read("spoken.mp4")}],
        "clip with sound, decoded": [{"video": {**timed, "audio": sound_of_clip}}],
        "clip, uneven": [{"video": read("uneven.mp4")}, {"video": uneven}],
        "document, encoded": [{"document": read("two.pdf")}, read("two.pdf")],
        "document, decoded": [{"document": pages}],
        "mixed": [
            ("listen", {"audio": array}, "and look", {"video": timed}, {"image": read("one.png")}),
            ({"document": read("two.pdf")}, "what is said", read("speech.ogg"), read("speech.ogg")),
            "text alone",
            {"role": "user", "content": [{"type": "text", "text": "hear"}, {"type": "audio", "audio": array}]},
        ],
    }
"""

PARITY = """
found = {}
for name in ("whisper", "hearing", "spectrogram", "faulty"):
    model = SentenceTransformer(str(Path(out) / name), trust_remote_code=True, device="cpu")
    assert {"text", "image", "audio", "video"} <= set(model.modalities)
    for case, values in inputs(out).items():
        found[f"{name}: {case}"] = model.encode(values)
np.savez(Path(out) / "found.npz", **found)
assert not any(name == "model" or name.startswith("model.") for name in sys.modules), "the library was imported"
"""

REFUSALS = """
refusals = []


def refused(model, value, code, words=""):
    try:
        model[0].preprocess([value])
        refusals.append([code, words, "", "it was taken"])
    except (ValueError, ImportError) as error:
        refusals.append([code, words, getattr(error, "code", type(error).__name__), str(error)])


whole = SentenceTransformer(str(Path(out) / "whisper"), trust_remote_code=True, device="cpu")
wave = np.zeros(16_000, dtype=np.float32)
sound = lambda array, rate=16_000: {"audio": {"array": array, "sampling_rate": rate}}
refused(whole, {"audio": wave}, "malformed_part", "sampling_rate")
refused(whole, sound((wave * 0).astype(np.int16)), "malformed_part", "int16")
refused(whole, sound(wave[None]), "malformed_part", "[samples, channels]")
refused(whole, sound(wave, 0), "audio_undecodable", "0 Hz")
refused(whole, sound(wave[:0]), "audio_empty")
refused(whole, sound(wave + np.nan), "audio_not_finite")
refused(whole, sound(np.zeros(61 * 16_000)), "audio_too_long", "61.0 s")
ogg, mp4, pdf = ((Path(out) / name).read_bytes() for name in ("speech.ogg", "clip.mp4", "two.pdf"))
refused(whole, {"audio": ogg[:-20]}, "audio_truncated")
refused(whole, {"audio": mp4}, "audio_unsupported")
refused(whole, {"video": mp4[:-20]}, "video_truncated")
refused(whole, {"document": pdf[:99]}, "document_truncated")
refused(whole, {"document": (Path(out) / "seven.pdf").read_bytes()}, "document_too_long", "7 pages")
refused(whole, b"nothing known", "malformed_part")
refused(whole, {"audio": "http://there/fox.ogg"}, "malformed_part", "addresses are not fetched")
refused(whole, {"audio": Path(out) / "huge.wav"}, "audio_too_large", "20000001")
refused(whole, 3, "malformed_part")
frames = np.zeros((4, 32, 32, 3), dtype=np.uint8)
refused(whole, {"video": frames[:0]}, "video_empty")
refused(whole, {"video": frames.astype(float)}, "malformed_part", "float64")
refused(whole, {"video": {"array": frames, "video_metadata": {"times": [0, 2, 1, 3]}}}, "malformed_part")
refused(whole, {"video": {"array": frames, "video_metadata": {"times": []}}}, "malformed_part", "as many times")
refused(whole, {"video": {"array": frames, "video_metadata": {"fps": 0}}}, "malformed_part", "0 frames a second")
refused(whole, {"video": {"array": frames, "video_metadata": {"fps": 0.01}}}, "video_too_long")
refused(whole, {"video": np.broadcast_to(frames[:1, :1, :1], (1, 2001, 2000, 3))}, "video_too_large")
refused(whole, {"image": Image.new("L", (8000, 5001))}, "image_too_large")
refused(whole, {"document": []}, "document_empty")
refused(whole, {"document": [Image.new("L", (9, 9))] * 7}, "document_too_long")

hearing = SentenceTransformer(str(Path(out) / "hearing"), trust_remote_code=True, device="cpu")
refused(hearing, {"video": frames}, "malformed_part", "times of a clip")
refused(hearing, {"video": {"array": frames, "video_metadata": {"fps": 8}}}, "malformed_part", "hears the sound")
deaf = SentenceTransformer(str(Path(out) / "deaf"), trust_remote_code=True, device="cpu")
assert deaf.modalities == ["text"]
for kind, data in (("audio", ogg), ("video", mp4), ("document", pdf)):
    refused(deaf, {kind: data}, "CapabilityError", f"a part is {kind}")

# Nothing but torch, transformers and PIL is needed for what was decoded before.
sys.modules[type(whole[0]).__module__].SHARED.forget()  # the process that draws PDFs has imported what it needs
for name in ("av", "soundfile", "soxr", "pypdfium2"):
    sys.modules[name] = None
whole.encode([sound(wave), {"video": frames}, {"document": [Image.new("L", (9, 9))]}])
needs = {"soundfile": {"audio": ogg}, "av": {"video": mp4}, "pypdfium2": {"document": pdf}, "soxr": sound(wave, 8_000)}
for name, value in needs.items():
    refused(whole, value, "ImportError", f"pip install {name}")
(Path(out) / "refusals.json").write_text(json.dumps(refusals))
"""


def clip_of(frames_FHW3: np.ndarray, wave_N: np.ndarray | None = None, places: list[int] | None = None) -> bytes:
    """Frames without loss at ``places`` in eighths of a second, by default one each; a track of 16-bit samples."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        pictures = container.add_stream("libx264rgb", rate=8, options={"qp": "0"})
        pictures.height, pictures.width = frames_FHW3.shape[1:3]
        pictures.pix_fmt = "rgb24"
        sound = None if wave_N is None else container.add_stream("alac", rate=16_000, layout="mono")
        packets = []
        for place, pixels in zip(places or range(len(frames_FHW3)), frames_FHW3, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = place, Fraction(1, 8)
            packets += pictures.encode(frame)
        packets += pictures.encode()
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(wave_N[None], format="s16p", layout="mono")
            frame.sample_rate = 16_000
            packets += [*sound.encode(frame), *sound.encode()]
        for packet in packets:
            container.mux(packet)
    return buffer.getvalue()


def write_media(out: Path) -> None:
    """Every file and array that the scripts read."""
    (out / "speech.ogg").write_bytes(make_ogg(3, seconds=1.3))
    stereo = np.random.default_rng(0).normal(0, 0.1, (44_100, 2)).cumsum(0).astype(np.float32) / 50
    np.save(out / "stereo.npy", stereo)
    soundfile.write(out / "stereo.wav", stereo, 44_100, subtype="FLOAT")
    # Every frame is another, so that it shows which ones were taken.
    frames = np.random.default_rng(1).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)
    np.save(out / "frames.npy", frames)
    (out / "clip.mp4").write_bytes(clip_of(frames))
    uneven = clip_of(frames, places=[i * i // 6 + i for i in range(len(frames))])
    (out / "uneven.mp4").write_bytes(uneven)
    read = read_clip(uneven, Limits())
    (out / "uneven.json").write_text(json.dumps({"times": read.times, "duration": read.seconds}))
    wave = (np.sin(np.arange(len(frames) * 2_000) ** 1.3 / 90) * 12_000).astype(np.int16)
    np.save(out / "track.npy", wave.astype(np.float32) / 2**15)
    (out / "spoken.mp4").write_bytes(clip_of(frames, wave))
    stills = [Image.open(io.BytesIO(make_png(i))) for i in range(3)]
    stills[0].save(out / "moving.gif", save_all=True, append_images=stills[1:], duration=200)
    (out / "one.png").write_bytes(make_png(1))
    pdf = make_pdf("Hello world", "Second page")
    (out / "two.pdf").write_bytes(pdf)
    (out / "seven.pdf").write_bytes(make_pdf(*"1234567"))


def write_pages(out: Path, size: int) -> None:
    """The pages of the document, drawn by its renderer."""
    for i, page in enumerate(pypdfium2.PdfDocument(out / "two.pdf")):
        page.render(scale=size / max(page.get_size())).to_pil().save(out / f"page{i}.png")


def other(name: str, out: Path) -> None:
    """Save an encoder with towers of other kinds."""
    picture, sound, clips = OTHERS[name]
    sizes = {"image": {"size": 192}, "video": {"size": 64, "max_frames": 5, **clips}, "audio": {"window_seconds": 2}}
    config = UnifiedConfig.model_validate(
        {"trunk": TINY_TRUNKS["bert"], "image_tower": picture, "audio_tower": sound, "dimensions": (32, 16), **sizes}
    )
    encoder = UnifiedEncoder(config, byte_tokenizer().to_str()).eval()
    shake(encoder.frontends)
    encoder.save(out / name)


def wanted(out: Path) -> dict[str, list[Content]]:
    """What the library is to embed for each case of ``INPUTS``."""

    def part(make, name: str):
        return make((out / name).read_bytes())

    speech, stereo = part(audio, "speech.ogg"), part(audio, "stereo.wav")
    clip, two = part(video, "clip.mp4"), part(document, "two.pdf")
    return {
        "sound, encoded": [Content.of(speech), Content.of(stereo), Content.of(speech)],
        "sound, decoded": [Content.of(stereo)] * 3,
        "clip, encoded": [Content.of(clip), Content.of(clip), Content.of(part(video, "moving.gif"))],
        "clip, decoded": [Content.of(clip)] * 3,
        "clip with sound, encoded": [Content.of(part(video, "spoken.mp4"))],
        "clip with sound, decoded": [Content.of(part(video, "spoken.mp4"))],
        "clip, uneven": [Content.of(part(video, "uneven.mp4"))] * 2,
        "document, encoded": [Content.of(two)] * 2,
        "document, decoded": [Content.of(two)],
        "mixed": [
            Content.of("listen", stereo, "and look", clip, part(image, "one.png")),
            Content.of(two, "what is said", speech, speech),
            Content.of("text alone"),
            Content.of("hear", stereo),
        ],
    }


@pytest.fixture(scope="module")
def out(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts and media of this file."""
    folder = tmp_path_factory.mktemp("portable")
    write_media(folder)
    shutil.copytree(tiny_artifact, folder / "whisper")
    write_pages(folder, load_encoder(tiny_artifact).config.image.size)
    torch.manual_seed(0)
    for name in OTHERS:
        other(name, folder)
    return folder


def spoil(source: Path, target: Path) -> None:
    """Copy an artifact and put the faults into its modelling file."""
    shutil.copytree(source, target)
    text = (target / MODELLING_FILE).read_text()
    for right, wrong in FAULTS.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    (target / MODELLING_FILE).write_text(text)


@pytest.fixture(scope="module")
def done(out: Path) -> Path:
    """The folder after one process, since its imports take most of the time, did all that is looked at."""
    spoil(out / "whisper", out / "faulty")
    config = UnifiedConfig.model_validate({"trunk": TINY_TRUNKS["bert"], "dimensions": (32, 16)})
    UnifiedEncoder(config, byte_tokenizer().to_str()).eval().save(out / "deaf")
    with (out / "huge.wav").open("wb") as file:
        file.truncate(20_000_001)  # sparse: it takes no room
    run_alone(ALONE + INPUTS + PARITY + REFUSALS, out / "whisper", out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper", *OTHERS])
def test_every_kind_has_the_vector_of_the_library(name: str, done: Path) -> None:
    found = np.load(done / "found.npz")
    encoder = load_encoder(done / name)
    for case, contents in wanted(done).items():
        expected = encode_contents(encoder, contents, desc="")
        assert np.abs(found[f"{name}: {case}"] - expected).max() <= 1e-5, case


@pytest.mark.slow
def test_a_fault_in_the_modelling_file_would_show(done: Path) -> None:
    found = np.load(done / "found.npz")
    for case in ("sound, encoded", "sound, decoded", "clip, encoded", "clip, decoded", "document, encoded", "mixed"):
        assert np.abs(found[f"faulty: {case}"] - found[f"whisper: {case}"]).max() > 1e-4, case
    heard = found["hearing: clip with sound, decoded"] - found["hearing: clip, decoded"][:1]
    assert np.abs(heard).max() > 1e-4, "the sound of the clip counts"


@pytest.mark.slow
def test_what_the_library_refuses_is_refused_and_missing_packages_are_named(done: Path) -> None:
    refusals = json.loads((done / "refusals.json").read_text())
    assert len(refusals) == 35
    for code, words, found, message in refusals:
        assert (code, words in message) == (found, True), (code, words, found, message)
