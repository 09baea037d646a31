"""What only an accelerator can show: ``python -m benchmarks.gpu --out DIR`` (``--parts``, ``--toy`` for any machine).

Sized for ten minutes on an H200, where it has yet to run; each part can run alone. It needs no data, no weights and no
network, and writes ``DIR/gpu.json`` after every row, so that a machine that is taken away leaves what was measured. A
row whose packages are missing, or that does not fit, is there with the reason. Needed: torch, numpy, pydantic and
pyarrow; besides, for ``cache`` and ``encode`` transformers, tokenizers, safetensors, pillow, for ``train`` lightning,
and for its peer sentence-transformers with accelerate and datasets; decoders of sounds and clips are not needed.
"""

import argparse
import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import loss as loss_bench
from benchmarks.findings import FITS, GB, Bench, Finding, failed, lacking
from benchmarks.setting import processor
from model.files import whole_file


def loss(bench: Bench) -> Iterator[Finding]:
    """Time and memory of the loss alone, against sentence-transformers' cached one where it is installed."""
    width = bench.of(768, 32)
    for count in bench.of((65_536, 262_144), (256, 512)):
        vectors = 2 * count * width * 4 / GB
        for side in ("ours", "cached-mnrl"):
            name = f"loss-{count}-{side}"
            if side != "ours" and (why := lacking("sentence_transformers")):
                yield Finding(name, missing=why)
                continue
            try:
                peak = loss_bench.peak(side, count, width, bench.device) * loss_bench.MIB / GB
                query_ND, document_ND = loss_bench.embeddings(count, width, bench.device)
                rounds = 3 if count < 100_000 else 1
                times = [loss_bench.seconds(loss_bench.SIDES[side], query_ND, document_ND) for _ in range(rounds + 1)][
                    1:
                ]
            except FITS as error:
                yield Finding(name, missing=f"does not fit: {str(error)[:120]}")
                continue
            target = "1" if side == "ours" and count == 65_536 else ""
            note = f"{count} x {count}, {width} dimensions, both directions; embeddings themselves {vectors:.2f} GB"
            yield Finding(f"{name}-memory", round(peak, 4), "GB beyond the embeddings, gradients included", target,
                          note=note)  # fmt: skip
            yield Finding(f"{name}-seconds", round(statistics.median(times), 4), "s forward and backward", note=note)


def cache(bench: Bench) -> Iterator[Finding]:
    """A batch of text and pictures by gradient caching, against the largest batch without it."""
    if why := lacking("transformers", "tokenizers"):
        yield Finding("cache", missing=why)
        return
    from benchmarks import synthetic

    size = bench.of(synthetic.SMALL, synthetic.TOY)
    encoder = synthetic.encoder_of(size, bench.device, pictures=True).train()
    encoder.frontends.eval()
    pairs, budget = bench.of((65_536, 16_384), (96, 256))
    plain: list[tuple[float, int, float]] = []
    pass_of(bench, encoder, size, bench.of(1024, 16), budget=None)()  # libraries and their workspaces
    for count in bench.of((2048, 4096, 8192, 16_384), (16, 32)):
        try:
            seconds, peak = bench.measured(pass_of(bench, encoder, size, count, budget=None))
        except FITS:
            encoder.zero_grad(set_to_none=True)
            yield Finding(f"cache-uncached-{count}", missing="does not fit")
            break
        plain.append((seconds / count, count, peak))
        yield Finding(f"cache-uncached-{count}", round(count / seconds, 1), "pairs/s", note=f"peak {peak:.2f} GB")
    seconds, peak = bench.measured(pass_of(bench, encoder, size, pairs, budget=budget))
    note = f"{pairs} pairs of a text and a picture through {size.name}, towers live and frozen, {budget} tokens a piece"
    yield Finding("cache-memory", round(peak, 2), "GB, all that lies on the device", "16", note=note)
    if plain:
        each, count, uncached = min(plain)
        yield Finding("cache-time-per-pair", round(1e6 * seconds / pairs, 2), "us", "1.5 times the uncached at most",
                      f"uncached, best of what fits: {count} pairs, {uncached:.1f} GB", round(1e6 * each, 2),
                      round(seconds / pairs / each, 3), note)  # fmt: skip


def pass_of(bench: Bench, encoder: Any, size: Any, pairs: int, *, budget: int | None) -> Callable[[], object]:
    """The forward and backward pass of a stage's step; the optimizer is left out."""
    from benchmarks import synthetic
    from model.losses.cache import backward_in_pieces
    from model.losses.contrastive import contrastive_loss
    from model.losses.pairing import Pairing
    from model.training.pieces import pieces_of

    query = synthetic.text_batch(pairs, size, 1)
    document = synthetic.picture_batch(pairs, size, 2)
    options: dict[str, Any] = {"temperature": 0.05, "dimensions": (size.width,)}

    def of(query_ND: Tensor, document_ND: Tensor) -> dict[str, Tensor]:
        return contrastive_loss(query_ND, document_ND, Pairing.in_order(pairs), **options)

    def step() -> None:
        encoder.zero_grad(set_to_none=True)
        with bench.autocast:
            if budget is None:
                of(encoder(query), encoder(document))["loss"].backward()  # type: ignore[no-untyped-call]
            else:
                sides = [pieces_of(side, budget, encoder) for side in (query, document)]
                backward_in_pieces(sides, of, torch.device(bench.device), keep=budget)

    return step


def train(bench: Bench) -> Iterator[Finding]:
    """Tokens per second and MFU of a stage in bf16, packed, against sentence-transformers' trainer."""
    if why := lacking("lightning", "transformers", "tokenizers"):
        yield Finding("train", missing=why)
        return
    from benchmarks import synthetic

    for size in bench.of((synthetic.SMALL, synthetic.BASE), (synthetic.TOY,)):
        name = f"train-{size.name}"
        plain = _stage(bench, size, bench.of(512, 4), None)
        cached = _stage(bench, size, bench.of(4096, 8), bench.of(65_536, 128))
        try:
            found = _train_ours(bench, size, plain, prepared=True)
            note = f"{_said(plain)}, batches made before"
            yield Finding(f"{name}-tokens", round(found["tokens_per_second"], 1), "tokens/s", note=note)
            yield _mfu(f"{name}-mfu", found.get("mfu"), note)
            yield from _against_peer(bench, size, cached, f"{name}-peer")
        except Exception as error:  # as when it does not fit: the other size still counts
            if bench.toy:
                raise
            yield Finding(name, missing=failed(error))


def _against_peer(bench: Bench, size: Any, stage: Any, name: str) -> Iterator[Finding]:
    own = _train_ours(bench, size, stage, prepared=False)["tokens_per_second"]
    note = f"{_said(stage)}, batches made in the training process"
    if why := lacking("sentence_transformers", "accelerate", "datasets"):
        yield Finding(name, round(own, 1), "tokens/s", peer=f"none: {why}", note=note)
        return
    theirs = _train_theirs(bench, size, stage)
    yield Finding(name, round(own, 1), "tokens/s", "",
                  "sentence-transformers trainer, CachedMultipleNegativesRankingLoss, same batches and token budget",
                  round(theirs, 1), round(own / theirs, 3), note)  # fmt: skip


def _said(stage: Any) -> str:
    micro = stage.micro_batch_tokens
    return f"{stage.tasks[0].batch_size} pairs a batch, {f'{micro} tokens a piece' if micro else 'at once'}, bf16"


def _words(size: Any, stage: Any) -> list[list[str]]:
    """For every step its queries, then its documents."""
    from benchmarks import synthetic

    return [synthetic.texts(2 * stage.tasks[0].batch_size, size, step) for step in range(stage.steps)]


def _mfu(name: str, value: float | None, note: str) -> Finding:
    why = "" if value is not None else "the peak of this device is not in model.training.flops.PEAKS"
    return Finding(name, None if value is None else round(value, 4), "share of the dense bf16 peak, trunk only",
                   note=note, missing=why)  # fmt: skip


def _stage(bench: Bench, size: Any, pairs: int, micro_batch_tokens: int | None) -> Any:
    from model.training.config import StageConfig

    return StageConfig.parse(
        {
            "kind": "align",
            "steps": bench.of(12, 3),
            "tasks": [{"name": "text_pairs", "batch_size": pairs}],
            "trainable": {"trunk": 1e-5, "head": 1e-5},
            "dimensions": [size.width],
            "micro_batch_tokens": micro_batch_tokens,
            "precision": "bf16-mixed",
            "warmup_steps": 1,
            "log_every_steps": 1,
            "checkpoint_every_steps": 10_000,
        }
    )


def _train_ours(bench: Bench, size: Any, stage: Any, *, prepared: bool) -> dict[str, float]:
    """Medians of the stage's own figures, its first two steps left out."""
    from benchmarks import synthetic

    synthetic.stand_in_for_decoders()
    from model.content import Content
    from model.losses.pairing import Pairing
    from model.training.batch import StepBatch
    from model.training.stage import run_stage

    encoder = synthetic.encoder_of(size, bench.device, pictures=False)
    pairs, words = stage.tasks[0].batch_size, _words(size, stage)

    def make(step: int) -> StepBatch:
        contents = [Content.of(text) for text in words[step]]
        sides = [encoder.preprocess(part) for part in (contents[:pairs], contents[pairs:])]
        return StepBatch(stage.tasks[0], step, sides[0], sides[1], Pairing.in_order(pairs))

    ready = [make(step) for step in range(stage.steps)] if prepared else None
    seen: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(dir=bench.scratch) as checkpoints:
        run_stage(
            encoder,
            stage,
            ready.__getitem__ if ready else make,
            checkpoints=Path(checkpoints),
            sinks=[lambda scalars, _: seen.append(dict(scalars))],
        )
    counted = seen[2:] or seen[-1:]
    names = [n for n in ("tokens_per_second", "mfu", "data_wait_share") if all(n in scalars for scalars in counted)]
    return {name: statistics.median(scalars[name] for scalars in counted) for name in names}


def _train_theirs(bench: Bench, size: Any, stage: Any) -> float:
    """Tokens per second of the peer's trainer, its first two steps left out."""
    from benchmarks import synthetic
    from benchmarks.peers import PeerBatching, text_peer, train_peer

    encoder = synthetic.encoder_of(size, "cpu", pictures=False)
    model = text_peer(encoder, bench.scratch).to(bench.device)
    pairs, words = stage.tasks[0].batch_size, _words(size, stage)
    rows = [pair for step in words for pair in zip(step[:pairs], step[pairs:], strict=True)]
    ends: list[float] = []

    def over(_: float) -> None:
        bench.wait()
        ends.append(time.perf_counter())

    batching = PeerBatching(32, stage.micro_batch_tokens)
    train_peer(model, rows, stage, batching=batching, directory=bench.scratch / "trainer", on_step=over)
    first = min(1, len(ends) - 2)
    tokens = sum(len(text) + 2 for step in words[first + 1 :] for text in step)
    return tokens / (ends[-1] - ends[first])


def encode(bench: Bench) -> Iterator[Finding]:
    """Throughput of the network in bf16 on texts and pictures, with the share of the peak."""
    if why := lacking("transformers", "tokenizers"):
        yield Finding("encode", missing=why)
        return
    from benchmarks import synthetic

    synthetic.stand_in_for_decoders()
    from model.training.flops import TrunkFlops, peak_of

    peak = peak_of(torch.device(bench.device), "bf16-mixed")
    for size in bench.of((synthetic.SMALL, synthetic.BASE), (synthetic.TOY,)):
        encoder = synthetic.encoder_of(size, bench.device, pictures=True).to(torch.bfloat16)
        batch = synthetic.text_batch(bench.of(2048, 16), size, 1)
        rate = _rate(bench, lambda encoder=encoder, batch=batch: encoder(batch))  # type: ignore[misc]
        tokens, note = int(batch.mask_NL.sum()), f"{size.name}, batches of {len(batch)}, packed"
        yield Finding(f"encode-text-{size.name}", round(rate * len(batch), 1), "texts/s", note=note)
        yield Finding(f"encode-tokens-{size.name}", round(rate * tokens, 1), "tokens/s", note=note)
        work = TrunkFlops(encoder, ())(batch)
        yield _mfu(f"encode-text-mfu-{size.name}", work and peak and rate * work / peak, note)
    pictures = synthetic.picture_batch(bench.of(256, 8), size, 2)
    rate = _rate(bench, lambda: encoder(pictures))
    note = f"batches of {len(pictures)}, {size.picture} x {size.picture} pixels from main memory, not decoded"
    yield Finding("encode-pictures", round(rate * len(pictures), 1), "pictures/s", note=note)
    yield _mfu("encode-pictures-mfu", peak and rate * _operations(partial(encoder, pictures)) / peak, note)


def _rate(bench: Bench, run: Callable[[], object]) -> float:
    """Runs per second, without gradients; the median of several."""
    times = []
    with torch.inference_mode():
        for _ in range(bench.of(23, 3)):
            bench.wait()
            start = time.perf_counter()
            run()
            bench.wait()
            times.append(time.perf_counter() - start)
    return 1 / statistics.median(times[bench.of(3, 1) :])


def _operations(run: Callable[[], object]) -> float:
    """Operations of a run, as torch counts them (matrix products and convolutions)."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


PARTS: dict[str, Callable[[Bench], Iterator[Finding]]] = {
    "loss": loss,
    "cache": cache,
    "train": train,
    "encode": encode,
}


def main(arguments: list[str] | None = None) -> list[Finding]:
    """Entry of ``python -m benchmarks.gpu``."""
    given = _parse(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    hardware = torch.cuda.get_device_name() if given.device == "cuda" else processor()
    began, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="gpu-bench-") as scratch:
        bench = Bench(given.device, given.toy, Path(scratch))
        for part in given.parts:
            for finding in _tolerant(part, bench):
                rows.append(finding)
                document = {"hardware": hardware, "torch": torch.__version__, "toy": given.toy,
                            "seconds": round(time.perf_counter() - began, 1),
                            "rows": [asdict(row) for row in rows]}  # fmt: skip
                with whole_file(given.out / "gpu.json") as partial_file:
                    partial_file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
                print(f"{document['seconds']:>6} s  {finding}", flush=True)
    return rows


def _tolerant(part: str, bench: Bench) -> Iterator[Finding]:
    """The rows of a part; a part that fails leaves its reason, and the next one goes on."""
    try:
        yield from PARTS[part](bench)
    except Exception as error:  # a measurement of another part is worth more than a clean end
        if bench.toy:
            raise
        traceback.print_exc()
        yield Finding(part, missing=failed(error))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of gpu.json")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--toy", action="store_true", help="sizes that any processor manages in seconds")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
