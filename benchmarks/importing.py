"""Importing: rows and media per second, and the memory of all processes together, at any size.

``python -m benchmarks.importing --texts 1000000 --media 100000`` makes a source, imports it with the command that users
have, and prints what it took. The rows of ``make bench`` do the same at a small size beside ``datasets``, which makes
rows of the same content (digest, split, decoded picture) on as many processes.
"""

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.rows import BenchmarkError, Row
from benchmarks.setting import Setting

TEXT_ROWS, MEDIA_ROWS = 40_000, 2_000
FEWEST_SAMPLES = 2
SOUND_EVERY = 10
WORDS = (
    *("the", "a", "red", "blue", "cat", "dog", "house", "runs", "sees", "big"),
    *("small", "under", "over", "river", "mountain", "of", "and", "quickly", "slowly", "tree"),
)
COMMON = {"languages": ["en"], "license": "CC0-1.0"}
MAPPINGS: dict[str, dict[str, Any]] = {
    "texts": {
        **COMMON,
        "query": [{"modality": "text", "column": "query"}],
        "positives": [[{"modality": "text", "column": "passage"}]],
        "task": "query_to_passage",
        "id": {"column": "id"},
    },
    "media": {
        **COMMON,
        "query": [{"modality": "text", "column": "caption"}],
        "positives": [
            [{"modality": "image", "column": "image", "optional": True}],
            [{"modality": "audio", "column": "audio", "optional": True}],
        ],
        "task": "text_to_media",
    },
}


@dataclass(frozen=True)
class Run:
    """One import: its report, and the peak of its processes' memory in bytes, shared pages counted once."""

    report: dict[str, Any]
    seconds: float
    peak: int


def make_texts(folder: Path, count: int) -> Path:
    """A manifest of texts: queries of 8 words and passages of 60."""
    rng = np.random.default_rng(0)
    path = folder / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for first in range(0, count, 1000):
            picks = rng.integers(0, len(WORDS), (min(1000, count - first), 68))
            for i, row in enumerate(picks, first):
                words = [WORDS[pick] for pick in row]
                record = {"id": i, "query": f"{' '.join(words[:8])} {i}", "passage": f"{' '.join(words[8:])} {i}"}
                file.write(json.dumps(record) + "\n")
    return path


def make_media(folder: Path, count: int) -> Path:
    """A manifest of pictures of 224 x 224 (JPEG), every tenth row a sound of a second (Ogg), all different."""
    import soundfile
    from PIL import Image

    path = folder / "media.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            rng = np.random.default_rng(i)
            below = f"media/{i // 1000:04d}"
            (folder / below).mkdir(parents=True, exist_ok=True)
            row: dict[str, Any] = {"caption": f"number {i}"}
            buffer = io.BytesIO()
            if i % SOUND_EVERY == 0:
                row["audio"] = f"{below}/{i}.ogg"
                wave = np.sin(np.arange(16_000) * rng.uniform(0.05, 0.5)) * 0.3 + rng.normal(0, 0.01, 16_000)
                soundfile.write(buffer, wave.astype(np.float32), 16_000, format="OGG", subtype="OPUS")
            else:
                row["image"] = f"{below}/{i}.jpg"
                pixels = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
            (folder / (row.get("audio") or row["image"])).write_bytes(buffer.getvalue())
            file.write(json.dumps(row) + "\n")
    return path


def run_import(folder: Path, kind: str, output: Path, workers: int) -> Run:
    """Import a manifest by the command of users, in processes of its own."""
    config = {"name": kind, "source": {"kind": "jsonl", "path": f"{kind}.jsonl"}, "mapping": MAPPINGS[kind]}
    (folder / f"{kind}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "pipelines.cli", "data", "import", str(folder / f"{kind}.yaml"), "-o", str(output)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL)
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    code = process.wait()
    spent = time.perf_counter() - began
    watcher.join()
    if code:
        raise BenchmarkError(f"the import of {kind} ended with {code}")
    report = json.loads((output / "import.json").read_text(encoding="utf-8"))["sources"][kind]
    return Run(report, spent, peak[0])


def _watch(process: "subprocess.Popen[bytes]", peak: list[int]) -> None:
    import psutil

    while process.poll() is None:
        try:
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
        except psutil.Error:
            break
        peak[0] = max(peak[0], sum(map(_proportional, (one.pid for one in family))))
        time.sleep(0.2)


def _proportional(pid: int) -> int:
    """Memory of a process; of pages that several share, its share."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def peer_seconds(folder: Path, kind: str, output: Path, workers: int) -> float:
    """The same rows by ``datasets``, in a process of its own, as ours."""
    code = f"from benchmarks.importing import peer; peer({str(folder)!r}, {kind!r}, {str(output)!r}, {workers})"
    environment = {**os.environ, "HF_HOME": str(output.parent / "hf"), "HF_HUB_OFFLINE": "1"}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the peer failed: {done.stderr[-500:]}")
    return time.perf_counter() - began


def peer(folder: str, kind: str, output: str, workers: int) -> None:
    """Rows with id, split and media bytes, each medium decoded once, written to disk."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.load_dataset("json", data_files=f"{folder}/{kind}.jsonl", split="train")
    made = rows.map(partial(_peer_row, folder=folder), num_proc=workers if workers > 1 else None)
    made.save_to_disk(output)


def _peer_row(row: dict[str, Any], folder: str) -> dict[str, Any]:
    import soundfile
    from PIL import Image

    name = row.get("image") or row.get("audio")
    data = (Path(folder) / name).read_bytes() if name else b""
    if row.get("image"):
        Image.open(io.BytesIO(data)).convert("RGB")
    elif row.get("audio"):
        soundfile.read(io.BytesIO(data))
    content = data or row["passage"].encode()
    group = hashlib.blake2b(content, digest_size=16).hexdigest()
    return {"bytes": data, "group": group, "split": int(hashlib.sha1(group.encode()).hexdigest(), 16) % 5}  # noqa: S324


def importing_row(setting: Setting, *, kind: str) -> Row:
    """Rows per second of both sides in turn, starting of processes included."""
    count = TEXT_ROWS if kind == "texts" else MEDIA_ROWS
    rounds = max(FEWEST_SAMPLES, setting.rounds // 2)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (make_texts if kind == "texts" else make_media)(folder, count)
        turns = []
        runs = []
        for turn in range(rounds):
            order = ("ours", "peer") if turn % 2 == 0 else ("peer", "ours")
            spent: dict[str, float] = {}
            for side in order:
                if side == "ours":
                    runs.append(run_import(folder, kind, folder / f"ours{turn}", setting.threads))
                    spent[side] = runs[-1].seconds
                else:
                    spent[side] = peer_seconds(folder, kind, folder / f"peer{turn}", setting.threads)
            turns.append(spent)
    if any(run.report["records"] != count for run in runs) or len({run.report["digest"] for run in runs}) > 1:
        raise BenchmarkError(f"not every row of {kind} became a record, or not the same ones each time")
    ours, theirs = (statistics.median(turn[side] for turn in turns) for side in ("ours", "peer"))
    peak = max(run.peak for run in runs)
    return Row(
        name=f"importing-{kind}",
        ours=round(count / ours, 1),
        peer="datasets: load_dataset, map, save_to_disk",
        peer_value=round(count / theirs, 1),
        ratio=round(statistics.median(turn["peer"] / turn["ours"] for turn in turns), 3),
        unit="rows/s",
        hardware=setting.hardware,
        note=f"{count} rows, {setting.threads} processes, start included, {rounds} rounds in turn; ours also checks, "
        f"probes and digests, {runs[0].report['bytes'] / 1e6 / ours:.1f} MB/s of media, peak {peak / 1e6:.0f} MB over "
        "all processes",
    )


ROWS: dict[str, Callable[[Setting], Row]] = {
    f"importing-{kind}": partial(importing_row, kind=kind) for kind in ("texts", "media")
}


def main() -> None:
    """Import at a size of choice, and say what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.importing", description=main.__doc__)
    parser.add_argument("--texts", type=int, default=200_000, help="rows of text")
    parser.add_argument("--media", type=int, default=20_000, help="rows with a medium")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep source and corpus here; made anew when missing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for kind, count, make in (("texts", arguments.texts, make_texts), ("media", arguments.media, make_media)):
            if not count:
                continue
            if not (folder / f"{kind}.jsonl").is_file():
                print(f"making {count} rows of {kind} ...", flush=True)
                make(folder, count)
            run = run_import(folder, kind, folder / "corpus", arguments.workers)
            again = run_import(folder, kind, folder / "corpus", arguments.workers)
            size = (folder / f"{kind}.jsonl").stat().st_size + run.report["bytes"]
            print(
                f"{kind}: {run.report['records']} records in {run.seconds:.1f} s, "
                f"{run.report['rows'] / run.seconds:.0f} rows/s, {size / 1e6 / run.seconds:.1f} MB/s, "
                f"peak {run.peak / 1e6:.0f} MB over all processes, {run.report['quarantined']} refused; "
                f"the same command again, which compares source and media: {again.seconds:.1f} s, "
                f"peak {again.peak / 1e6:.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
