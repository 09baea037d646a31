"""The service under load against its peers: the same weights, contents, requests and number of threads.

Rows ``serving-<texts|images|audio>-<clients>-<peer>`` have so many clients that each send one content and wait for its
vector (closed loop). ``serving-tail-80`` has requests that come by chance at 80 % of what the service can do at most.

``python -m benchmarks.serving --out serving.png`` measures all rows, every side in turn, and draws them.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import BenchmarkError, MissingPeerError, Row
from benchmarks.serving_load import Load
from benchmarks.serving_sides import Service, ceiling, fleet
from benchmarks.setting import Setting
from model.content import Content

TEXT_CLIENTS, MEDIA_CLIENTS = (1, 8, 32, 64), (1, 8)
SATURATED, MANY = 64, 32
COMPARED, LEAST_COSINE = 8, 0.9999
TAIL_LOAD, TAIL_REQUESTS = 0.8, 400
OURS = "ours"
PEERS = {
    "fastapi": "sentence-transformers in a plain FastAPI handler (uvicorn, def in a thread pool, model.encode)",
    "fastapi-lock": "the same with a lock around model.encode",
    "infinity": "infinity-emb, its torch engine",
    "onnx": "the same ONNX graphs without HTTP, all contents known",
}


class Side(Protocol):
    """What can be loaded and asked for vectors."""

    def load(self, contents: Sequence[Content], *, clients: int, requests: int) -> Load:
        """Send so many requests, one content each, in the order given."""
        ...

    def vectors(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Vectors [N, D]."""
        ...


@dataclass(frozen=True)
class Cell:
    """What one side did under one load, over all rounds: median rate, latencies in milliseconds."""

    kind: str
    clients: int
    side: str
    rate: float
    p50: float
    p99: float


def contents_of(setting: Setting, kind: str) -> list[Content]:
    """What the clients send."""
    return {"texts": setting.text_contents, "images": setting.picture_contents, "audio": setting.sound_contents}[kind]


def side(setting: Setting, name: str, kind: str) -> Side:
    """A side, started where it does not run yet.

    Raises:
        MissingPeerError: it is not installed.
    """
    running = fleet(setting)
    makers: dict[str, Callable[[], Side]] = {
        OURS: running.ours,
        "fastapi": partial(running.fastapi, whole=kind != "texts"),
        "fastapi-lock": partial(running.fastapi, whole=kind != "texts", lock=True),
        "infinity": running.infinity,
        "onnx": partial(ceiling, setting, tuple(contents_of(setting, kind))),
    }
    return makers[name]()


def compare(setting: Setting, kind: str, clients: int, peers: Sequence[str]) -> tuple[list[Row], list[Cell]]:
    """Our service against peers, in turn.

    Raises:
        BenchmarkError: the vectors of a peer are others than ours, or a request failed.
        MissingPeerError: a peer is not installed.
    """
    contents = contents_of(setting, kind)
    sides = {name: side(setting, name, kind) for name in (OURS, *peers)}
    cosines = {name: same_vectors(name, sides[OURS], sides[name], contents) for name in peers}
    requests = len(contents) * (2 if clients >= MANY else 1)
    loads = take_turns(sides, contents, clients=clients, requests=requests, rounds=setting.rounds)
    cells = {name: cell(kind, clients, name, found) for name, found in loads.items()}
    rows = [
        Row(
            name=f"serving-{kind}-{clients}-{name}",
            ours=round(cells[OURS].rate, 2),
            peer=PEERS[name],
            peer_value=round(cells[name].rate, 2),
            ratio=round(ratio(loads[OURS], loads[name]), 3),
            unit=f"{kind}/s",
            hardware=setting.hardware,
            note=f"{note(sides[name], cells, name)}; {requests} requests, {setting.rounds} rounds in turn, "
            f"least cosine {cosines[name]:.6f}",
        )
        for name in peers
    ]
    return rows, list(cells.values())


def take_turns(
    sides: Mapping[str, Side], contents: Sequence[Content], *, clients: int, requests: int, rounds: int
) -> dict[str, list[Load]]:
    """So many runs of each side, after a short one that is not counted; who begins changes each round."""
    for each in sides.values():
        each.load(contents, clients=clients, requests=min(requests, 2 * clients + 8))
    loads: dict[str, list[Load]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            loads[name].append(sides[name].load(contents, clients=clients, requests=requests))
    return loads


def same_vectors(name: str, ours: Side, peer: Side, contents: Sequence[Content]) -> float:
    """Least cosine between the vectors of both.

    Raises:
        BenchmarkError: they do not do the same work.
    """
    some = contents[:COMPARED]
    left_ND, right_ND = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in map(_vectors_of(some), (ours, peer)))
    cosine = float((left_ND * right_ND).sum(1).min())
    if cosine < LEAST_COSINE:
        raise BenchmarkError(f"{name} gives other vectors than ours: least cosine {cosine:.6f}, wanted {LEAST_COSINE}")
    return cosine


def _vectors_of(contents: Sequence[Content]) -> Callable[[Side], NDArray[np.float32]]:
    return lambda asked: asked.vectors(contents)


def cell(kind: str, clients: int, name: str, loads: Sequence[Load]) -> Cell:
    """The runs of one side as one line."""
    together = joined(loads)
    rate = statistics.median(load.rate for load in loads)
    return Cell(kind, clients, name, rate, together.percentile(50), together.percentile(99))


def joined(loads: Sequence[Load]) -> Load:
    """Several runs as one, for percentiles."""
    return Load(sum(load.seconds for load in loads), tuple(t for load in loads for t in load.latencies))


def ratio(ours: Sequence[Load], peer: Sequence[Load]) -> float:
    """Median over the rounds of our rate over theirs: rounds are pairs, so a drifting machine cancels out."""
    return statistics.median(o.rate / p.rate for o, p in zip(ours, peer, strict=True))


def note(peer: Side, cells: Mapping[str, Cell], name: str) -> str:
    """Latencies of both, or how the graphs were run."""
    ours, theirs = cells[OURS], cells[name]
    words = getattr(peer, "words", f"{theirs.p50:.0f} and {theirs.p99:.0f} ms")
    return f"p50 and p99 {ours.p50:.0f} and {ours.p99:.0f} ms against {words}"


def row(setting: Setting, kind: str, clients: int, peer: str) -> Row:
    """One row of ``make bench``."""
    return compare(setting, kind, clients, [peer])[0][0]


def tail(setting: Setting) -> Row:
    """How far the slowest of a hundred requests is from the middle, at 80 % of what each service can do at most."""
    contents = setting.text_contents
    running = fleet(setting)
    sides = {OURS: running.ours(), "fastapi": running.fastapi()}
    most = take_turns(sides, contents, clients=SATURATED, requests=2 * len(contents), rounds=setting.rounds)
    rates = {name: statistics.median(load.rate for load in loads) for name, loads in most.items()}
    found = {name: _arrivals(sides[name], contents, TAIL_LOAD * rates[name], setting.rounds) for name in sides}
    tails = {name: load.percentile(99) / load.percentile(50) for name, load in found.items()}
    words = {
        name: f"{TAIL_LOAD * rates[name]:.1f}/s with p50 {load.percentile(50):.0f} ms, p99 {load.percentile(99):.0f} ms"
        for name, load in found.items()
    }
    return Row(
        name="serving-tail-80",
        ours=round(tails[OURS], 2),
        peer=PEERS["fastapi"],
        peer_value=round(tails["fastapi"], 2),
        ratio=round(tails["fastapi"] / tails[OURS], 3),
        unit="p99/p50",
        hardware=setting.hardware,
        note=f"arrivals by chance, each at 80 % of its own most: {words[OURS]} against {words['fastapi']}; "
        f"{len(found[OURS].latencies)} requests; the rule is <= 5",
    )


def _arrivals(service: Service, contents: Sequence[Content], rate: float, rounds: int) -> Load:
    requests = min(TAIL_REQUESTS, 2 * len(contents))
    return joined([service.arrivals(contents, rate=rate, requests=requests, seed=seed) for seed in range(rounds)])


PLAN: dict[tuple[str, int], tuple[str, ...]] = {
    **{("texts", clients): ("fastapi", "infinity", "onnx") for clients in TEXT_CLIENTS},
    **{(kind, clients): ("fastapi",) for kind in ("images", "audio") for clients in MEDIA_CLIENTS},
}
ROWS: dict[str, Callable[[Setting], Row]] = {
    f"serving-{kind}-{clients}-{peer}": partial(row, kind=kind, clients=clients, peer=peer)
    for (kind, clients), peers in PLAN.items()
    for peer in peers
} | {"serving-tail-80": tail}


def main() -> None:
    """Measure the service and its peers under all loads, and draw what came out."""
    from benchmarks.options import add_options, setting_of
    from benchmarks.report import markdown
    from benchmarks.serving_plot import draw

    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=main.__doc__)
    add_options(parser, rounds=3)
    parser.add_argument("--out", type=Path, required=True, help="picture to write; the figures go beside it as JSON")
    parser.add_argument("--kinds", nargs="+", default=["texts", "images", "audio"])
    parser.add_argument("--clients", nargs="+", type=int, default=TEXT_CLIENTS)
    parser.add_argument("--items", type=int, help="inputs of each kind; fewer for a first look")
    arguments = parser.parse_args()
    setting = setting_of(arguments)
    if arguments.items:
        setting = replace(setting, **dict.fromkeys(("texts", "pictures", "sounds"), arguments.items))
    rows: list[Row] = []
    cells: list[Cell] = []
    for (kind, clients), peers in PLAN.items():
        if kind in arguments.kinds and clients in arguments.clients:
            print(f"measuring {kind} with {clients} clients ...", flush=True)
            found = compare(setting, kind, clients, present(setting, peers))
            rows += found[0]
            cells += found[1]
            write(arguments.out, rows, cells)
            draw(cells, setting.hardware, arguments.out)
    print(f"\n{markdown(rows)}\n{arguments.out}")


def present(setting: Setting, peers: Sequence[str]) -> list[str]:
    """The peers that are installed; of the others the reason is printed."""
    kept = []
    for name in peers:
        try:
            if name == "infinity":
                fleet(setting).infinity()
            kept.append(name)
        except MissingPeerError as reason:
            print(f"skipped {name}: {reason}", flush=True)
    return kept


def write(picture: Path, rows: Sequence[Row], cells: Sequence[Cell]) -> None:
    """Write the figures beside a picture."""
    document = {"rows": [asdict(row) for row in rows], "cells": [asdict(cell) for cell in cells]}
    picture.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
