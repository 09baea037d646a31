"""Fixtures shared by the suite: a tiny random encoder and a small sample of every modality."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from PIL import Image


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny tensors are slower on several threads, and two workers share two cores."""
    import torch

    torch.set_num_threads(1)


def make_png(seed: int = 0, width: int = 48, height: int = 32) -> bytes:
    """A noisy picture, different for each seed."""
    from PIL import Image

    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)))


def encoded(picture: "Image.Image", kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file of ``kind``, by Pillow's options."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def make_ogg(seed: int = 0, seconds: float = 1.3, rate: int = 16_000) -> bytes:
    """A chirp with noise as Ogg/Opus."""
    import soundfile

    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * (200 + 60 * seed) * times * (1 + times)) + 0.01 * rng.standard_normal(len(times))
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.astype(np.float32), rate, format="OGG", subtype="OPUS")
    return buffer.getvalue()


def make_mp4(seed: int = 0, frames: int = 12, size: int = 64) -> bytes:
    """A bright square that moves over a dark ground."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            picture = np.full((size, size, 3), 20 + 10 * seed, dtype=np.uint8)
            left = (size - 16) * i // max(1, frames - 1)
            picture[16:32, left : left + 16] = 220
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def make_pdf(*texts: str, box: tuple[float, float] = (300, 200), compress: bool = False) -> bytes:
    """A page for each text: the words in Helvetica over a red bar on the left."""
    streams = [f"1 0 0 rg 0 0 40 {box[1]:g} re f 0 g BT /F1 24 Tf 60 80 Td ({text}) Tj ET".encode() for text in texts]
    return pdf_of_pages(streams, box, compress=compress)


def pdf_of_pages(streams: list[bytes], box: tuple[float, float], *, compress: bool) -> bytes:
    """A PDF of pages drawn by the given streams, in which /F1 is Helvetica."""
    import zlib

    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, plain in enumerate(streams):
        stream = zlib.compress(plain) if compress else plain
        page = f"/Type /Page /Parent 2 0 R /MediaBox [0 0 {box[0]:f} {box[1]:f}] /Contents {5 + 2 * i} 0 R"
        objects.append(f"<< {page} /Resources << /Font << /F1 3 0 R >> >> >>".encode())
        head = f"<< /Length {len(stream)}{' /Filter /FlateDecode' if compress else ''} >>"
        objects.append(head.encode() + b" stream\n" + stream + b"\nendstream")
    return pdf_file(objects)


def pdf_file(objects: list[bytes]) -> bytes:
    """A PDF of the given objects, numbered from 1; the first is the catalogue."""
    data, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj %s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(data))
    return data + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


@pytest.fixture(scope="session")
def png_bytes() -> bytes:
    """One picture."""
    return make_png()


@pytest.fixture(scope="session")
def ogg_bytes() -> bytes:
    """One sound."""
    return make_ogg()


@pytest.fixture(scope="session")
def mp4_bytes() -> bytes:
    """One clip."""
    return make_mp4()


@pytest.fixture(scope="session")
def tiny_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact directory of a tiny random unified encoder with every tower."""
    from model.unified.build import build_encoder
    from model.weights.random import random_weights

    home = tmp_path_factory.mktemp("tiny")
    encoder = build_encoder(random_weights(home / "weights"), {}, source="random")
    encoder.save(home / "artifact")
    return home / "artifact"


@pytest.fixture
def tiny_encoder(tiny_artifact: Path):  # torch must not be imported to annotate a fixture
    """A fresh tiny encoder, free to be changed by the test."""
    from model.artifact import load_encoder

    return load_encoder(tiny_artifact)


@pytest.fixture(scope="session")
def pdf_bytes() -> bytes:
    """One document of two pages with a text layer."""
    return make_pdf("Hello world", "Second page")


CONCEPTS = ("cat", "dog", "boat", "tree", "bread", "lamp")
MOTIONS = ("left", "right", "grow")


def benchmark_records() -> tuple[list, dict]:
    """Records of every benchmark task over six concepts in two languages, with real media; one is not for testing."""
    from data.records import PartRef, Record
    from model.content import Modality, media_digest

    media: dict[str, tuple[Modality, bytes]] = {}
    records: list[Record] = []

    def keep(modality: Modality, data: bytes) -> tuple[PartRef, ...]:
        media[media_digest(data)] = (modality, data)
        return (PartRef(modality, media=media_digest(data)),)

    def words(value: str) -> tuple[PartRef, ...]:
        return (PartRef(Modality.TEXT, text=value),)

    def add(source: str, name: str, task: str, query, positive, group: str, languages=("en",), split="test") -> None:
        records.append(
            Record(f"{source}/{name}", task, query, (positive,), (), source, languages, "CC0-1.0", group, split)
        )

    artists = ("emoji-fluent", "emoji-noto", "emoji-twemoji", "emoji-openmoji")
    for i, concept in enumerate(CONCEPTS):
        pictures = {a: keep(Modality.IMAGE, make_png(seed=10 * i + j)) for j, a in enumerate((*artists, "stamps"))}
        for source, picture in pictures.items():
            for language in ("en", "de"):
                text = words(concept if language == "en" else f"{concept}-de")
                add(source, f"{concept}/{language}", "text_to_image", text, picture, concept, (language,))
        add(
            "emoji-noto",
            f"{concept}/keywords",
            "text_to_image",
            words(f"{concept} keys"),
            pictures["emoji-noto"],
            concept,
        )
        spoken = keep(Modality.AUDIO, make_ogg(seed=i))
        caption = words("an animal" if concept in ("cat", "dog") else concept)
        add("stamps-speech", f"{concept}/es/text", "speech_to_text", spoken, caption, concept, ("es",))
        add("stamps-speech", f"{concept}/es/image", "speech_to_image", spoken, pictures["stamps"], concept, ("es",))
        for j, motion in enumerate(MOTIONS):
            clip = keep(Modality.VIDEO, make_mp4(seed=3 * i + j, frames=6 + j, size=32))
            add("motion", f"{concept}/{motion}/en", "text_to_video", words(f"{concept} {motion}"), clip, concept)
        composed = (*pictures["emoji-noto"], *words("turned"))
        add(
            "interleaved",
            f"{concept}/en",
            "composed_to_image",
            composed,
            keep(Modality.IMAGE, make_png(90 + i)),
            concept,
        )
        add(
            "libreoffice-bitext",
            f"{concept}/de",
            "bitext",
            words(f"the {concept}"),
            words(f"{concept} da"),
            concept,
            ("en", "de"),
        )
        add(
            "libreoffice-help",
            f"{concept}/en",
            "heading_to_passage",
            words(f"{concept}?"),
            words(f"about {concept}"),
            concept,
        )
        add("python-stdlib", concept, "docstring_to_code", words(f"{concept} doc"), words(f"def {concept}"), concept)
    add("emoji-noto", "seen/en", "text_to_image", words("seen"), pictures["emoji-noto"], "seen", split="train")
    return records, media


@pytest.fixture(scope="session")
def benchmark_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of shards, one per source, with test records of every benchmark task."""
    from data.shards import write_shard

    directory = tmp_path_factory.mktemp("benchmark_corpus")
    records, media = benchmark_records()
    for source in sorted({r.source for r in records}):
        own = [r for r in records if r.source == source]
        used = {p.media for r in own for c in (r.query, *r.positives) for p in c if p.media}
        write_shard(directory / f"{source}.parquet", own, {d: media[d] for d in used})
    return directory
