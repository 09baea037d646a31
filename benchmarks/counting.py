"""Memory that an accelerator would need, counted without one: ``python -m benchmarks.counting [PART ...]``.

Parts: ``loss``, ``cache``, ``stage``, ``check``. Every tensor on the pretended device of :mod:`benchmarks.emulated` is
counted from its first use to its last, at real sizes; large ones have shapes and no numbers. ``check`` counts what this
machine can also measure, and says how far the two are apart.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from benchmarks import loss as loss_bench
from benchmarks import synthetic
from benchmarks.emulated import accelerator
from benchmarks.findings import GB, Bench, Finding
from benchmarks.gpu import pass_of
from model.losses import tiles
from model.losses.cache import Piece, backward_in_pieces
from model.losses.contrastive import contrastive_loss
from model.losses.pairing import Pairing
from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.ema import Ema
from model.training.module import ContrastiveModule
from model.unified.batch import UnifiedBatch

SAID = (
    "Counted from the sizes of tensors on a pretended device, not measured on a GPU: workspaces of libraries, the\n"
    "CUDA context and fragments of the allocator are not in it; an H200 has 141 GB."
)
SHAPES_FROM = 2**12  # few numbers decide where memory goes, and those are small
WIDTH = 768
CHECKED = (4096, 16_384)
BUDGET = 131_072  # of the recipe
HERE = Path()


def loss(*, largest: int = 65_536) -> Iterator[Finding]:
    """The loss alone, beyond the embeddings, gradients included; the dense one beside it."""
    for count in (65_536, 262_144):
        if count > largest:
            continue
        for side in ("ours", "dense"):
            found = _loss_peak(side, count, WIDTH)
            vectors = 2 * count * WIDTH * 4 / GB
            target = "1" if (side, count) == ("ours", 65_536) else ""
            note = f"{count} x {count}, {WIDTH} dimensions; the embeddings themselves {vectors:.2f} GB"
            yield Finding(f"loss-{count}-{side}", round(found / GB, 3), "GB beyond the embeddings", target, note=note)


def _loss_peak(side: str, count: int, width: int) -> int:
    with accelerator(shapes_from=SHAPES_FROM) as device:
        query_ND, document_ND = (torch.randn(count, width, device="cuda", requires_grad=True) for _ in range(2))
        before = device.restart()
        loss_bench.SIDES[side](query_ND, document_ND)
        return device.peak - before


def cache(*, largest: int = 65_536) -> Iterator[Finding]:
    """Forward and backward over pairs of a text and a picture, at once and by gradient caching; all that lies there.

    One piece lies there at a time, so two of the dearest a side tell of any number of them; what grows with the batch
    (vectors, their gradients, the loss) is counted apart, at the batch's size.
    """
    size, budget = synthetic.SMALL, 16_384
    batch = min(largest, 65_536)
    with accelerator(shapes_from=SHAPES_FROM) as device:
        encoder = synthetic.encoder_of(size, "cuda", pictures=True).train()
        encoder.frontends.eval()
        bench = Bench("cuda", False, HERE)
        dear = replace(size, median=10 * size.longest)
        for name, own, pairs, tokens in (
            ("cache-uncached-2048", size, 2048, None),
            ("cache-uncached-8192", size, 8192, None),
            ("cache-pieces", dear, 1024, budget),
        ):
            step = pass_of(bench, encoder, own, pairs, budget=tokens)
            weights = device.restart()
            step()
            encoder.zero_grad(set_to_none=True)
            how = f"{tokens} tokens a piece" if tokens else "at once"
            note = f"{size.name}, {how}, bf16; weights {weights / GB:.2f} GB of it"
            yield Finding(name, round(device.peak / GB, 2), "GB, all that lies on the device", note=note)
    rest = _batch_peak(batch, size.width)
    note = f"vectors, gradients and loss of {batch} pairs, {size.width} dimensions: to be added to the pieces"
    yield Finding(f"cache-batch-{batch}", round(rest / GB, 2), "GB", "16 with the pieces", note=note)


def _batch_peak(pairs: int, width: int) -> int:
    """Of gradient caching whose pieces cost nothing themselves."""
    with accelerator(shapes_from=SHAPES_FROM) as device:
        weight = torch.ones((), device="cuda", requires_grad=True)
        rows = torch.arange(pairs).split(4096)

        def piece(rows_n: Tensor) -> Piece:
            return Piece(rows_n, lambda: torch.randn(len(rows_n), width, device="cuda") * weight)

        def of(query_ND: Tensor, document_ND: Tensor) -> dict[str, Tensor]:
            pairing = Pairing.in_order(pairs)
            return contrastive_loss(query_ND, document_ND, pairing, temperature=0.05, dimensions=(width,))

        before = device.restart()
        backward_in_pieces([[piece(part) for part in rows] for _ in range(2)], of, torch.device("cuda", 0))
        return device.peak - before


def stage(*, largest: int = 65_536) -> Iterator[Finding]:
    """Pieces of the recipe h200-base's first stage, of the dearest texts, with AdamW, clipping and averages."""
    for recompute in (False, True):
        peak, resting = _stage_peak(min(largest, 2048), BUDGET, recompute=recompute)
        note = f"{synthetic.BASE.name}, {BUDGET} tokens a piece, bf16; {resting / GB:.2f} GB of it at rest"
        name = f"stage-pieces{'-recomputing' if recompute else ''}"
        yield Finding(name, round(peak / GB, 2), "GB, all that lies on the device", note=note)


def _stage_peak(pairs: int, budget: int, *, recompute: bool) -> tuple[int, int]:
    size = synthetic.BASE
    config = StageConfig.parse(
        {
            "kind": "align",
            "steps": 4,
            "tasks": [{"name": "text_pairs", "batch_size": pairs}],
            "trainable": {"trunk": 2e-5, "head": 1e-4},
            "dimensions": [768],
            "micro_batch_tokens": budget,
            "precision": "bf16-mixed",
            "activation_checkpointing": recompute,
        }
    )
    with accelerator(shapes_from=SHAPES_FROM) as device:
        encoder = synthetic.encoder_of(size, "cpu", pictures=False)
        module = ContrastiveModule(encoder, config).to("cuda")
        module.on_train_start()
        optimizer = module.configure_optimizers()["optimizer"]
        averages = Ema({n: p for n, p in encoder.named_parameters() if n in module.rates}, 0.999)
        for sides in (_texts(64), _texts(pairs)):  # the optimizer makes its states in the first step
            resting = device.restart()
            batch = StepBatch(config.tasks[0], 0, *sides, Pairing.in_order(len(sides[0])))
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                module.training_step(batch, 0)
            torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            averages.update()
            module.embeddings = None
        return device.peak, resting


def _texts(pairs: int) -> list[UnifiedBatch]:
    """Nearly all of the greatest length: so they fill a piece, and are packed."""
    dear = replace(synthetic.BASE, median=10 * synthetic.BASE.longest)
    return [synthetic.text_batch(pairs, dear, seed) for seed in (1, 2)]


def check(*, largest: int = 65_536) -> Iterator[Finding]:
    """The count against the peak that the kernel of this machine tells of a process that does the same."""
    for count in (n for n in CHECKED if n <= largest):
        for side in ("ours", "dense"):
            counted = _check_peak(side, count) / GB
            measured = loss_bench._peak_in_process(side, count, WIDTH, "cpu") * loss_bench.MIB / GB
            yield Finding(f"check-loss-{count}-{side}", round(counted, 3), "GB beyond the embeddings, counted",
                          peer="measured on the processor", peer_value=round(measured, 3),
                          ratio=round(counted / measured, 3), note="tiles of the processor")  # fmt: skip


def _check_peak(side: str, count: int, width: int = WIDTH, tile: int = tiles.TILE["cpu"]) -> int:
    with mock.patch.dict(tiles.TILE, {"cuda": tile}):
        return _loss_peak(side, count, width)


PARTS: dict[str, Callable[..., Iterator[Finding]]] = {"loss": loss, "cache": cache, "stage": stage, "check": check}


def main(arguments: list[str] | None = None) -> list[Finding]:
    """Entry of ``python -m benchmarks.counting``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counting", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all when empty")
    parser.add_argument("--largest", type=int, default=65_536, help="pairs; 262144 for the largest loss, too (minutes)")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.parts) - set(PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}")
    print(SAID, flush=True)
    rows = []
    for part in given.parts or PARTS:
        began = time.perf_counter()
        for row in PARTS[part](largest=given.largest):
            rows.append(row)
            print(f"{row.name:34} {row.value:>9} {row.unit}{said(row)}", flush=True)
        sys.stderr.write(f"{part}: {time.perf_counter() - began:.0f} s\n")
    return rows


def said(row: Finding) -> str:
    """What a row says besides its value."""
    peer = f"; {row.peer} {row.peer_value}, ratio {row.ratio}" if row.peer else ""
    return f"{peer}{f' (goal: {row.target})' if row.target else ''}; {row.note}"


if __name__ == "__main__":
    main()
