"""``python -m benchmarks.soak``: a real service under more load than it can serve, a fifth of it hostile.

Ends with code 1 when anything was wrong: an answer, a vector, a crash, memory, descriptors or threads that grow, or a
service that does not come to rest afterwards. Writes ``soak.json`` and ``soak.html`` with what happened when.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.setting import processor
from benchmarks.soaking.bodies import bad_requests
from benchmarks.soaking.callers import FULL, Load, call, crowd, harass
from benchmarks.soaking.media import good_contents
from benchmarks.soaking.report import write_page
from benchmarks.soaking.watch import Sample, Tally, as_rows, growth, look, sample_until, worker_of
from serving.config import RequestLimits, ServingConfig
from serving.launch import Server, free_port, running

MOST_GROWTH = 0.05
LEAST_LET_IN = 0.9
"""Of those who come back when they were told to."""
MOST_THREADS = 2
MOST_DESCRIPTORS = 10
REST_SECONDS = 60.0
SWAPPED = "the worker was restarted"


@dataclass(frozen=True)
class Plan:
    """How long, how many, how bad."""

    minutes: float = 10.0
    warm_minutes: float = 2.0
    clients: int = 48
    attackers: int = 60
    crowd: int = 1000
    hostile_share: float = 0.2
    contents: int = 150
    minimum_cosine: float = 0.9999
    body_bytes: int = 64_000_000
    queue_items: int = 64
    grows: float = MOST_GROWTH
    let_in: float = LEAST_LET_IN


def soak(artifact: Path, plan: Plan, output: Path, *, backend: str = "onnx") -> dict[str, Any]:
    """Run it; the result's ``problems`` is empty when all was well."""
    from model.artifact import load_encoder, usable_backend
    from model.encoding import encode_contents

    usable = usable_backend(artifact, backend)  # type: ignore[arg-type]  # checked there
    encoder = load_encoder(artifact, backend=usable, threads=1)
    contents = good_contents(encoder.modalities, plan.contents)
    vectors_ND = encode_contents(encoder, contents, desc="offline vectors")
    limits = RequestLimits(
        queue_items=plan.queue_items,
        body_bytes=plan.body_bytes,
        bodies_bytes=4 * plan.body_bytes,
        items_per_request=min(64, plan.queue_items),
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        config = ServingConfig(artifact=artifact.resolve(), backend=usable, port=free_port(), limits=limits)
        with running(config, Path(scratch)) as server:
            bad = bad_requests(encoder.modalities, plan.body_bytes)
            load = Load(
                *(server.url, contents, vectors_ND, bad, Tally(), plan.minimum_cosine, plan.hostile_share),
                warm_seconds=plan.warm_minutes * 60,
            )
            found = asyncio.run(_run(load, plan, server))
            found["log_errors"] = _errors_in(server.log)
    result = {"plan": vars(plan), "modalities": sorted(map(str, encoder.modalities)), "hardware": processor(), **found}
    result["problems"] = problems(result, plan)
    output.mkdir(parents=True, exist_ok=True)
    (output / "soak.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    write_page(result, output / "soak.html")
    return result


async def _run(load: Load, plan: Plan, server: Server) -> dict[str, Any]:
    worker, samples, tally = worker_of(server), list[Sample](), load.tally
    idle = look(worker, tally.started)
    tasks = [asyncio.create_task(call(load, seed)) for seed in range(plan.clients)]
    tasks += [asyncio.create_task(harass(load, 1000 + seed)) for seed in range(plan.attackers)]
    tasks.append(asyncio.create_task(crowd(load, plan.crowd)))
    watcher = asyncio.create_task(sample_until(load.stop, worker, tally.started, samples))
    await asyncio.wait({watcher, *tasks}, timeout=plan.minutes * 60, return_when=asyncio.FIRST_EXCEPTION)
    load.stop.set()
    ended = await asyncio.wait_for(asyncio.gather(watcher, *tasks, return_exceptions=True), 200)
    failures = [repr(outcome) for outcome in ended if isinstance(outcome, BaseException)]
    rest = await _rest(load, worker, idle)
    return {
        "failures": failures,
        "statuses": {second: dict(counts) for second, counts in sorted(tally.statuses.items())},
        "kinds": {kind: dict(counts) for kind, counts in sorted(tally.kinds.items())},
        "wrong": dict(tally.wrong.most_common()),
        "lowest_cosine": tally.lowest_cosine,
        "good_answers": len(tally.seconds),
        "came_as_told": dict(tally.came_as_told),
        "told_seconds": {"median": statistics.median(tally.told), "most": max(tally.told)} if tally.told else {},
        "memory": growth(samples, plan.warm_minutes * 60),
        "idle": vars(idle),
        "rest": rest,
        "same_worker": worker.is_running() and worker_of(server).pid == worker.pid,
        "samples": as_rows(samples),
    }


async def _rest(load: Load, worker: psutil.Process, idle: Sample) -> dict[str, Any]:
    """Wait until the service has come to rest, then ask it a few things, one after another."""
    started = time.monotonic()
    async with httpx.AsyncClient(base_url=load.url, timeout=60, trust_env=False) as client:
        pending, now = -1.0, look(worker, load.tally.started)
        while time.monotonic() - started < REST_SECONDS:
            lines = (await client.get("/metrics")).text.splitlines()
            pending = sum(float(line.split()[-1]) for line in lines if line.startswith("omnivec_pending_items"))
            now = look(worker, load.tally.started)
            if pending == 0 and now.descriptors <= idle.descriptors + MOST_DESCRIPTORS:
                break
            await asyncio.sleep(0.5)
        seconds = []
        for _ in range(20):
            asked = time.monotonic()
            response = await client.post("/v1/embeddings", json={"model": "omnivec", "input": "are you there"})
            response.raise_for_status()
            seconds.append(time.monotonic() - asked)
    return {
        "pending": pending,
        "after_seconds": time.monotonic() - started - sum(seconds),
        "answer_seconds": sorted(seconds)[len(seconds) // 2],
        **{f"end_{name}": value for name, value in vars(now).items()},
    }


def problems(result: dict[str, Any], plan: Plan) -> list[str]:
    """What was wrong, in words."""
    memory, rest, idle = result["memory"], result["rest"], result["idle"]
    found = [f"{count} x {what}" for what, count in result["wrong"].items()]
    found += [f"a caller failed: {failure}" for failure in result["failures"]]
    found += [f"the service logged {count} x {what}" for what, count in result["log_errors"].items()]
    counts = {status: sum(kind.get(status, 0) for kind in result["kinds"].values()) for status in ("200", "429")}
    let_in = share_let_in(result["came_as_told"])
    checks = {
        f"only {let_in:.0%} of those who came when they were told were let in": let_in >= plan.let_in,
        SWAPPED: result["same_worker"],
        f"memory grew by {memory['growth']:.1%}": memory["growth"] <= plan.grows,
        f"{rest['pending']:g} items were left": rest["pending"] == 0,
        f"descriptors went from {idle['descriptors']} to {rest['end_descriptors']}": rest["end_descriptors"]
        <= idle["descriptors"] + MOST_DESCRIPTORS,
        f"threads went from {memory['threads']:g} to {rest['end_threads']}": rest["end_threads"]
        <= memory["threads"] + MOST_THREADS,
        f"an answer took {rest['answer_seconds']:.1f} s at rest": rest["answer_seconds"] < 2,
        "there was no load": counts["200"] > 0,
        "there was no overload": counts["429"] > 0,
    }
    return found + [what for what, holds in checks.items() if not holds]


def share_let_in(came_as_told: dict[str, int]) -> float:
    """Share of those who came when they were told that did not find the service full again; 1 where nobody came."""
    full = sum(came_as_told.get(limit, 0) for limit in FULL)
    return 1 - full / max(1, sum(came_as_told.values()))


def _errors_in(log: Path) -> dict[str, int]:
    """Lines of the log that tell of our own faults."""
    found: dict[str, int] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"level": "error"' in line or "Traceback" in line or "Exception in ASGI" in line:
            event = json.loads(line).get("event", line) if line.startswith("{") else line[:120]
            found[event] = found.get(event, 0) + 1
    return found


def main() -> None:
    """Entry of ``python -m benchmarks.soak``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--warm-minutes", type=float, help="before memory is compared; by default a fifth")
    parser.add_argument("--clients", type=int, default=Plan.clients)
    parser.add_argument("--attackers", type=int, default=Plan.attackers)
    parser.add_argument("--crowd", type=int, default=Plan.crowd, help="connections that say nothing")
    parser.add_argument("--backend", default="onnx", help="onnx, onnx-int8 or torch")
    parser.add_argument("--model", default="champion", help="version, alias, or an artifact's directory")
    parser.add_argument("--output", type=Path, help="by default OMNIVEC_HOME/bench")
    given = parser.parse_args()
    warm = given.warm_minutes if given.warm_minutes is not None else given.minutes / 5
    plan = Plan(given.minutes, warm, given.clients, given.attackers, given.crowd)
    result = soak(_artifact(given.model), plan, given.output or _bench(), backend=given.backend)
    for problem in result["problems"]:
        print(f"problem: {problem}")
    memory = result["memory"]
    print(
        f"{result['good_answers']} good requests answered, lowest cosine {result['lowest_cosine']:.6f}, memory "
        f"{memory['first_mb']:.0f} -> {memory['last_mb']:.0f} MB ({memory['growth']:+.1%}), "
        f"{share_let_in(result['came_as_told']):.0%} of those let in who came when they were told"
    )
    sys.exit(1 if result["problems"] else 0)


def _artifact(model: str) -> Path:
    from components.environment import Environment
    from components.registry import fetch_version

    return Path(model) if Path(model).is_dir() else fetch_version(model, Environment.from_env())


def _bench() -> Path:
    from components.environment import Environment

    return Environment.from_env().home / "bench"


if __name__ == "__main__":
    main()
