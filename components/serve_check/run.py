"""The work of the serving check: a real server process, real requests over HTTP, real captures."""

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.serve_check.config import Config
from components.serve_check.hostile import Verdict, as_row, hostile_requests, send
from components.serve_check.parity import Comparison, compare, label
from components.serve_check.shift import shift_content
from components.serve_check.traffic import Traffic, interleave, plan_traffic
from data.corpus import Corpus
from model.artifact import load_encoder, usable_backend
from model.content import Content
from model.encoder import Encoder
from model.errors import ArtifactError
from serving.capture import read_captures
from serving.client import EmbeddingClient
from serving.config import CaptureConfig, ServingConfig
from serving.launch import Server, free_port, running, tail

WINDOWS = ("clean", "shifted")


@dataclass(frozen=True)
class _Findings:
    comparison: Comparison
    verdicts: list[Verdict]
    requests: dict[str, set[str]]
    ready_seconds: float


def run(
    config: Config, *, artifact: Path, dataset: Path, report: Path, captures: Path, version: str = "candidate"
) -> dict[str, float]:
    """Serve ``artifact``, check it from outside, and write the report and two capture windows.

    Args:
        config: what is sent.
        artifact: directory of the exported model.
        dataset: directory of shards; only its test split is used.
        report: JSON file: ``{ok, problems, cosine, latency_ms, ready_seconds, errors, windows, ...}``.
        captures: directory that receives ``clean/`` and ``shifted/``.
        version: what the server reports as its version.

    Returns:
        Scalars: lowest cosine and p50 latency by label, seconds to ready.

    Raises:
        ArtifactError: a served vector differs from its offline vector, or a bad request got a wrong answer.
        LaunchError: the server did not start.
    """
    encoder = load_encoder(artifact)
    traffic = plan_traffic(
        Corpus(dataset, splits=("test",)),
        encoder=encoder,
        parity=config.parity_per_kind,
        window=config.window_per_kind,
        seed=config.seed,
    )
    with tempfile.TemporaryDirectory(prefix="serve-check-") as scratch:
        raw = Path(scratch) / "captures"
        serving = ServingConfig(
            artifact=artifact.resolve(),
            version=version,
            backend=usable_backend(artifact, config.backend),
            port=free_port(),
            capture=CaptureConfig(directory=raw),
        )
        with running(serving, Path(scratch), timeout_seconds=config.ready_timeout_seconds) as server:
            found = _exercise(config, encoder, traffic, server)
            problems = _problems(config, found)
            log = tail(server.log) if problems else ""
        windows = _write_windows(read_captures(raw), found.requests, captures)
    _write_report(report, config, version, found, problems, windows)
    if problems:
        raise ArtifactError("the served model is not fit:\n  " + "\n  ".join(problems) + f"\n{log}")
    return _scalars(found)


def _exercise(config: Config, encoder: Encoder, traffic: Traffic, server: Server) -> _Findings:
    with EmbeddingClient(server.url) as client:
        sent = label(traffic.parity, config.tasks)
        limits = client.models()[0]["limits"]
        samples = {kind: pool[0] for kind, pool in traffic.parity.items()}
        hostile = hostile_requests(samples, limits, encoder.modalities)
        with ThreadPoolExecutor(config.clients) as pool:
            strangers = [pool.submit(send, client, bad) for bad in hostile]  # bad requests share batches with good ones
            comparison = compare(encoder, client, sent, size=config.items_per_request, clients=config.clients)
            verdicts = [task.result() for task in strangers]
        shifted = [shift_content(content, i) for i, content in enumerate(interleave(traffic.shifted))]
        requests = {
            "clean": _send_window(client, interleave(traffic.clean), config),
            "shifted": _send_window(client, shifted, config),
        }
    return _Findings(comparison, verdicts, requests, server.ready_seconds)


def _send_window(client: EmbeddingClient, contents: Sequence[Content], config: Config) -> set[str]:
    """Send a window; return the ids of its requests, by which its captured rows are found again."""
    size = config.items_per_request
    requests = [contents[i : i + size] for i in range(0, len(contents), size)]
    with ThreadPoolExecutor(config.clients) as pool:
        return {answer.request_id for answer in pool.map(client.embed, requests)}


def _write_windows(rows: pa.Table, requests: dict[str, set[str]], captures: Path) -> dict[str, dict[str, int]]:
    """One Parquet file per window; returns rows by kind."""
    counts = {}
    for name in WINDOWS:
        window = rows.filter(pc.is_in(rows["request_id"], value_set=pa.array(sorted(requests[name]), pa.string())))
        (captures / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(window, captures / name / "capture.parquet", compression="zstd")
        kinds = window["kind"].value_counts().to_pylist()
        counts[name] = {item["values"]: item["counts"] for item in kinds}
    return counts


def _problems(config: Config, found: _Findings) -> list[str]:
    cosines = [
        f"{name}: lowest cosine {row['min']:.6f} between served and offline vectors, must be >= {config.minimum_cosine}"
        for name, row in found.comparison.summary().items()
        if not row["min"] >= config.minimum_cosine
    ]
    answers = [
        f"{v.name}: answered {v.status} {v.code}, must be {v.expected} with its own code"
        for v in found.verdicts
        if not v.ok
    ]
    return cosines + answers


def _write_report(
    path: Path, config: Config, version: str, found: _Findings, problems: list[str], windows: dict[str, Any]
) -> None:
    value = {
        "ok": not problems,
        "problems": problems,
        "version": version,
        "backend": config.backend,
        "minimum_cosine": config.minimum_cosine,
        "cosine": found.comparison.summary(),
        "latency_ms": found.comparison.latency_ms(),
        "ready_seconds": found.ready_seconds,
        "errors": [as_row(verdict) for verdict in found.verdicts],
        "windows": windows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _scalars(found: _Findings) -> dict[str, float]:
    cosine = {f"cosine_min/{name}": row["min"] for name, row in found.comparison.summary().items()}
    latency = {f"latency_p50_ms/{name}": row["p50"] for name, row in found.comparison.latency_ms().items()}
    return {**cosine, **latency, "ready_seconds": found.ready_seconds}
