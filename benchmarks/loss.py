"""The loss alone, forward and backward: ours against a dense one and against sentence-transformers' cached one.

``python -m benchmarks.loss`` measures time and memory on this machine, and on an accelerator with ``--device cuda
--sizes 65536 262144 --width 768``; the dense one is left out where its matrices would not fit.

Every side gets the same vectors, both directions and one temperature, and its gradients are compared with ours first.
Peak memory is measured in a process of its own for each side, and counts what the step needs beyond the embeddings.

Shape legend: N queries and as many documents, D dimensions.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks.report import markdown, write_report
from benchmarks.rows import BenchmarkError, Row
from benchmarks.setting import processor
from components.environment import Environment
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing
from model.memory import peak_bytes, resident_bytes

SIZES = (1024, 4096, 16384)
WIDTH = 384
TEMPERATURE = 0.05
LARGEST_DENSE = 16384
AGREEMENT = 1e-3
PEER_ROWS = 1024  # rows of the peer's score matrix at a time; its default of 32 is slower
MIB = 2**20
Step = Callable[[Tensor, Tensor], object]


class Measuring(Protocol):
    """The part of a benchmark session that matters here."""

    @property
    def hardware(self) -> str:
        """Processor in words."""

    @property
    def rounds(self) -> int:
        """Counted runs of each side."""


@dataclass(frozen=True)
class Here:
    """This machine, without a model or a corpus."""

    hardware: str
    rounds: int


def ours(query_ND: Tensor, document_ND: Tensor) -> None:
    """Our loss and its backward pass."""
    pairing = Pairing.in_order(len(query_ND))
    options: dict[str, Any] = {"temperature": TEMPERATURE, "dimensions": (query_ND.shape[1],)}
    contrastive_loss(query_ND, document_ND, pairing, **options)["loss"].backward()  # type: ignore[no-untyped-call]


def dense(query_ND: Tensor, document_ND: Tensor) -> None:
    """What every library has without tiles: a matrix of logits and its cross entropies."""
    logits_NN = normalize(query_ND, dim=1) @ normalize(document_ND, dim=1).T / TEMPERATURE
    target_N = torch.arange(len(logits_NN), device=logits_NN.device)
    loss = (cross_entropy(logits_NN, target_N) + cross_entropy(logits_NN.T, target_N)) / 2
    loss.backward()  # type: ignore[no-untyped-call]


def cached_peer(query_ND: Tensor, document_ND: Tensor) -> None:
    """CachedMultipleNegativesRankingLoss on embeddings: its loss stage with the backward pass of each part."""
    from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss

    loss = CachedMultipleNegativesRankingLoss(
        [torch.nn.Identity()],
        scale=1 / TEMPERATURE,
        mini_batch_size=PEER_ROWS,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )
    loss.calculate_loss([[query_ND], [document_ND]], with_backward=True)


SIDES: dict[str, Step] = {"ours": ours, "dense": dense, "cached-mnrl": cached_peer}
NAMES = {
    "dense": "dense cross entropy in torch",
    "cached-mnrl": f"sentence-transformers CachedMultipleNegativesRankingLoss, {PEER_ROWS} rows at a time",
}


def embeddings(count: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Queries and documents [N, D], each document somewhat nearer to its query than to others."""
    generator = torch.Generator(device).manual_seed(0)
    query_ND = torch.randn(count, width, device=device, generator=generator)
    document_ND = query_ND + 4 * torch.randn(count, width, device=device, generator=generator)
    return query_ND.requires_grad_(), document_ND.requires_grad_()


def seconds(step: Step, query_ND: Tensor, document_ND: Tensor) -> float:
    """Duration of one forward and backward pass."""
    query_ND.grad = document_ND.grad = None
    _wait(query_ND)
    start = time.perf_counter()
    step(query_ND, document_ND)
    _wait(query_ND)
    return time.perf_counter() - start


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def time_row(setting: Measuring, *, count: int, peer: str, width: int = WIDTH, device: str = "cpu") -> Row:
    """Time of both sides in turn.

    Raises:
        BenchmarkError: their gradients differ.
    """
    sides = [SIDES["ours"], SIDES[peer]]
    query_ND, document_ND = embeddings(count, width, device)
    gradients = []
    for step in sides:  # uncounted
        seconds(step, query_ND, document_ND)
        assert query_ND.grad is not None
        gradients.append(query_ND.grad.clone())
    apart = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    if not apart < AGREEMENT:
        raise BenchmarkError(f"{peer} and ours differ by {apart:.2g} in their gradients at {count} pairs")
    del gradients
    turns = [[seconds(step, query_ND, document_ND) for step in sides] for _ in range(setting.rounds)]
    return Row(
        name=f"loss-{count}-{peer}",
        ours=round(count / statistics.median(t for t, _ in turns), 1),
        peer=NAMES[peer],
        peer_value=round(count / statistics.median(t for _, t in turns), 1),
        ratio=round(statistics.median(theirs / own for own, theirs in turns), 3),
        unit="pairs/s",
        hardware=setting.hardware,
        note=f"{count} x {count}, {width} dimensions, both directions, forward and backward, {setting.rounds} rounds "
        f"in turn, gradients within {apart:.1e}",
    )


def memory_row(setting: Measuring, *, count: int, peer: str, width: int = WIDTH, device: str = "cpu") -> Row:
    """Peak memory beyond the embeddings of both sides, each in a process of its own."""
    own, theirs = (_peak_in_process(side, count, width, device) for side in ("ours", peer))
    return Row(
        name=f"loss-memory-{count}-{peer}",
        ours=round(own, 1),
        peer=NAMES[peer],
        peer_value=round(theirs, 1),
        ratio=round(theirs / own, 3),
        unit="MiB",
        hardware=setting.hardware,
        note=f"peak beyond the embeddings, gradients included; those are {2 * count * width * 4 / MIB:.0f} MiB",
    )


def _peak_in_process(side: str, count: int, width: int, device: str) -> float:
    command = [sys.executable, "-m", "benchmarks.loss", "--peak", side, "--sizes", str(count)]
    command += ["--width", str(width), "--device", device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak(side: str, count: int, width: int, device: str) -> float:
    """MiB that one step needs beyond the embeddings; meant for a fresh process."""
    SIDES[side](*embeddings(64, width, device))  # libraries and their workspaces
    query_ND, document_ND = embeddings(count, width, device)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        SIDES[side](query_ND, document_ND)
        return (torch.cuda.max_memory_allocated() - before) / MIB
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (Linux)
    before = resident_bytes() or 0
    SIDES[side](query_ND, document_ND)
    return (peak_bytes() - before) / MIB


ROWS: dict[str, Callable[[Measuring], Row]] = {
    f"{prefix}-{count}-{peer}": partial(make, count=count, peer=peer)
    for prefix, make in (("loss", time_row), ("loss-memory", memory_row))
    for count in SIZES
    for peer in NAMES
}


def main() -> None:
    """Entry of ``python -m benchmarks.loss``."""
    given = _parse()
    torch.set_num_threads(given.threads)
    if given.peak:
        print(peak(given.peak, given.sizes[0], given.width, given.device))
        return
    bench = Environment.from_env().home / "bench" / "loss"
    processors = f"{processor()}, {given.threads} of {os.cpu_count()} cores"
    gpu = torch.cuda.get_device_name() if given.device.startswith("cuda") else None
    setting = Here(gpu or processors, given.rounds)
    rows = []
    for count in given.sizes:
        for peer in NAMES:
            if peer == "dense" and count > given.largest_dense:
                continue
            for make in (time_row, memory_row):
                rows.append(make(setting, count=count, peer=peer, width=given.width, device=given.device))
                print(rows[-1], flush=True)
                write_report(rows, bench)
    print(f"\n{markdown(rows)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loss", description=main.__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of pairs")
    parser.add_argument("--width", type=int, default=WIDTH, help="dimensions")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="processor threads of each side")
    parser.add_argument("--rounds", type=int, default=3, help="counted runs of each side")
    parser.add_argument("--largest-dense", type=int, default=LARGEST_DENSE, help="most pairs of the dense side")
    parser.add_argument("--peak", choices=sorted(SIDES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
