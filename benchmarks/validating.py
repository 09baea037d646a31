"""How fast a large corpus is probed and validated, and in how much memory.

``python -m benchmarks.validating DIRECTORY --records 1000000 --media 100000`` writes a corpus there once (every medium
different, nine pictures for each sound), validates it in a process of its own, without and with stored probes, and
prints a line of JSON for each.
"""

import argparse
import io
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = [
    *("the", "a", "of", "in", "on", "under", "red", "green", "blue", "small", "large", "old", "new", "house", "tree"),
    *("river", "mountain", "boat", "cat", "dog", "bird", "child", "woman", "man", "road", "bridge", "window", "door"),
]
RECORDS_PER_SHARD = 250_000
MEDIA_PER_SHARD = 10_000
PICTURE_SIDE = 48
SOUND_SAMPLES = 8_000
# The last two are those of a corpus that ``benchmarks.importing --folder`` left, which can be validated as well.
TASKS = ("pair", "text_to_image", "speech_to_text", "query_to_passage", "text_to_media")


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validating", description=main.__doc__)
    parser.add_argument("directory", type=Path, help="where the corpus and the results go")
    parser.add_argument("--records", type=int, default=1_000_000, help="pairs of texts")
    parser.add_argument("--media", type=int, default=100_000, help="media, each with a record")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(measure(arguments.directory)))
        return
    corpus = arguments.directory / "corpus"
    if not corpus.is_dir():
        build(corpus, arguments.records, arguments.media)
    for probes in ("made", "stored"):
        command = [sys.executable, "-m", "benchmarks.validating", str(arguments.directory), "--once"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(json.dumps({"probes": probes, **json.loads(done.stdout.splitlines()[-1])}), flush=True)
        if probes == "made":  # as an import leaves them
            (arguments.directory / "out" / "dataset" / "probes").rename(corpus / "probes")


def measure(directory: Path) -> dict[str, float]:
    """Validate once in this process."""
    from components.validate.config import LicensePolicy, ValidateConfig
    from components.validate.run import run
    from data.rules import Ranges
    from model.memory import peak_bytes

    out = directory / "out"
    config = ValidateConfig(ranges=Ranges(tasks=TASKS), licenses=LicensePolicy(allow=("MIT", "CC0-1.0")))
    size = sum(path.stat().st_size for path in (directory / "corpus").glob("*.parquet"))
    start = time.perf_counter()
    found = run(
        config,
        corpus=directory / "corpus",
        dataset=out / "dataset",
        quarantine=out / "quarantine",
        report=out / "report.html",
    )
    seconds = time.perf_counter() - start
    return {
        **found,
        "seconds": round(seconds, 1),
        "records_per_second": round(found["rows"] / seconds),
        "megabytes_per_second": round(size / seconds / 1e6, 1),
        "peak_megabytes": round(peak_bytes() / 1e6),
    }


def build(corpus: Path, records: int, media: int) -> None:
    """Write the corpus, shard by shard."""
    for number, first in enumerate(range(0, records, RECORDS_PER_SHARD)):
        rows = (_text_row(i) for i in range(first, min(records, first + RECORDS_PER_SHARD)))
        _write(corpus / f"texts-{number:05}.parquet", iter(()), rows)
    for number, first in enumerate(range(0, media, MEDIA_PER_SHARD)):
        made = [_medium(i) for i in range(first, min(media, first + MEDIA_PER_SHARD))]
        digests = [(row["id"], row["modality"]) for row in made]
        rows = (_media_row(first + i, *digest) for i, digest in enumerate(digests))
        _write(corpus / f"media-{number:05}.parquet", iter(made), rows)


def _write(path: Path, media: Iterator[dict[str, object]], records: Iterator[dict[str, object]]) -> None:
    from data.shards import FORMAT, MEDIA_ROWS_PER_GROUP, SCHEMA

    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, SCHEMA.with_metadata(FORMAT), compression="zstd") as writer:
        for rows, group in ((media, MEDIA_ROWS_PER_GROUP), (records, 50_000)):
            while chunk := [row for _, row in zip(range(group), rows, strict=False)]:
                writer.write_table(pa.Table.from_pylist(chunk, SCHEMA))


def _text_row(number: int) -> dict[str, object]:
    chosen = random.Random(number)
    query, positive = (" ".join(chosen.choices(WORDS, k=chosen.randint(3, 25))) for _ in range(2))
    return _row(number, "texts", "pair", _text(f"{query} {number}"), _text(f"{positive} {number}"))


def _media_row(number: int, digest: str, modality: str) -> dict[str, object]:
    medium = [{"modality": modality, "text": None, "media": digest}]
    caption = _text(f"{' '.join(random.Random(number).choices(WORDS, k=8))} {number}")
    if modality == "audio":
        return _row(number, "media", "speech_to_text", medium, caption)
    return _row(number, "media", "text_to_image", caption, medium)


def _text(value: str) -> list[dict[str, object]]:
    return [{"modality": "text", "text": value, "media": None}]


def _row(number: int, source: str, task: str, query: object, positive: object) -> dict[str, object]:
    from data.splits import split_of

    group = f"{source} {number}"
    return {
        "kind": "record",
        "id": f"{source}/{number}",
        "task": task,
        "query": query,
        "positives": [positive],
        "negatives": [],
        "source": source,
        "languages": ["en"],
        "license": "MIT",
        "group": group,
        "split": split_of(group),
    }


def _medium(number: int) -> dict[str, object]:
    import soundfile
    from PIL import Image

    from model.content import media_digest

    noise = np.random.default_rng(number)
    buffer = io.BytesIO()
    modality = "audio" if number % 10 == 0 else "image"
    if modality == "audio":
        wave_N = 0.2 * np.sin(np.arange(SOUND_SAMPLES) * noise.uniform(0.02, 0.5)) + noise.normal(
            0, 0.01, SOUND_SAMPLES
        )
        soundfile.write(buffer, wave_N.astype(np.float32), 16_000, format="FLAC")
    else:
        small = noise.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((PICTURE_SIDE, PICTURE_SIDE)).save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue()
    return {"kind": "media", "id": media_digest(data), "modality": modality, "bytes": data}


if __name__ == "__main__":
    main()
