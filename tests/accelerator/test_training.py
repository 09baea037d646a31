"""The encoder and a whole stage on a pretended CUDA device: the numbers of the processor, and few waits."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.emulated import accelerator
from model.content import Content, audio, image, video
from model.encoding import encode_contents, run_batch
from model.losses.cache import Piece, RandomState, backward_in_pieces
from model.losses.pairing import Pairing
from model.training.batch import StepBatch, TeacherVectors
from model.training.stage import run_stage
from model.transfer import pinned
from model.unified import packed
from model.unified.packed import Packing, run_packed
from tests.conftest import make_mp4, make_ogg, make_png
from tests.model.losses.test_cache import PLANS, gradients, inputs, loss_of, network
from tests.model.training.toy import WORDS, stage_of
from tests.model.unified.test_packed import LENGTHS, TINY, TRUNKS, make_trunk

CUDA = torch.device("cuda", 0)
MIXED = [
    Content.of("a"),
    Content.of("a cat " * 9, image(make_png(1))),
    Content.of(audio(make_ogg(1))),
    Content.of(video(make_mp4(1)), "see"),
]
FULL = [Content.of(image(make_png(i))) for i in range(3)]


def vectors_and_gradient(encoder, contents: list[Content]) -> tuple[Tensor, Tensor]:
    encoder.requires_grad_(True).frontends.requires_grad_(False)
    encoder.table.requires_grad_(False)
    encoder.zero_grad()
    vectors_ND = encoder(encoder.preprocess(contents))
    (100 * vectors_ND[:, :5].sum(1).square().mean()).backward()
    return vectors_ND.detach().cpu(), encoder.projectors["image"].out.weight.grad.cpu().clone()


@pytest.mark.parametrize("contents", [MIXED, FULL], ids=["packed", "padded"])
def test_vectors_and_gradients_are_those_of_the_processor(tiny_encoder, contents: list[Content]) -> None:
    expected = vectors_and_gradient(tiny_encoder, contents)
    with accelerator() as device:
        tiny_encoder.to("cuda")
        device.restart()
        found = vectors_and_gradient(tiny_encoder, contents)
        assert len(device.waits) == 2, device.waits  # for what is compared here
    for want, value in zip(expected, found, strict=True):
        torch.testing.assert_close(value, want, rtol=1e-5, atol=1e-6)
    assert expected[1].abs().max() > 1e-2


def test_contents_are_embedded_to_arrays(tiny_encoder) -> None:
    expected = encode_contents(tiny_encoder, MIXED)
    with accelerator() as device:
        tiny_encoder.to("cuda")
        assert np.allclose(encode_contents(tiny_encoder, MIXED), expected, atol=1e-5)
        device.restart()
        run_batch(tiny_encoder, MIXED[:2])
        assert len(device.waits) == 1, device.waits  # for the result


def packed_states(kind: str, on: str) -> Tensor:
    trunk = make_trunk(kind).to(on)
    mask_NL = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    packing = Packing.of(mask_NL, CUDA if on == "cuda" else torch.device(on))
    rows_TH = torch.randn(len(packing.row_T), TINY["hidden_size"], generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast(on, torch.bfloat16):
        return packing.mean(run_packed(trunk, rows_TH.to(on), packing)).cpu()


@pytest.mark.parametrize(
    "kind", [k if k in ("bert", "gemma3_text") else pytest.param(k, marks=pytest.mark.minutes) for k in sorted(TRUNKS)]
)
def test_every_packable_trunk_takes_the_kernel_in_mixed_precision(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's stand-in refuses arguments that it does not document; half precision leaves some two digits."""
    expected = packed_states(kind, "cpu")
    monkeypatch.setattr(packed, "_by_length", None)
    with accelerator() as device:
        found = packed_states(kind, "cuda")
        assert len(device.waits) == 1, device.waits
    assert (found - expected).abs().mean() < 0.02 < expected.abs().mean()


def test_a_head_that_the_kernel_does_not_take_goes_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with accelerator():
        wide, odd = (torch.zeros(1, 2, 5, width, device="cuda", dtype=torch.bfloat16) for width in (16, 20))
        assert packed._has_varlen_kernel(wide, 0.0)
        assert not packed._has_varlen_kernel(odd, 0.0)
        assert not packed._has_varlen_kernel(wide.float(), 0.0)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
        assert not packed._has_varlen_kernel(wide, 0.0)


def dropped_gradients(*, cached: bool) -> list[Tensor]:
    """On the device, in pieces or with the graphs of all of them kept, from the same random state."""
    model, sides = network(0.5).to(CUDA), [x.to(CUDA) for x in inputs()]
    torch.manual_seed(5)

    def embed(rows: Tensor, piece: list[int]) -> Tensor:
        return model(rows.index_select(0, torch.tensor(piece, device=CUDA)))

    if cached:
        cut = [
            [Piece(torch.tensor(p), partial(embed, x, p), len(p)) for p in plan]
            for x, plan in zip(sides, PLANS, strict=True)
        ]
        backward_in_pieces(cut, loss_of, CUDA)
    else:
        orders = [torch.tensor([i for piece in plan for i in piece]).argsort().to(CUDA) for plan in PLANS]
        whole = [torch.cat([embed(x, p) for p in plan]) for x, plan in zip(sides, PLANS, strict=True)]
        loss_of(*(vectors[order] for vectors, order in zip(whole, orders, strict=True)))["loss"].backward()
    return [gradient.cpu() for gradient in gradients(model)]


@pytest.mark.parametrize("restored", [True, False])
def test_pieces_repeat_what_the_generator_of_the_device_drew(restored: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not restored:
        monkeypatch.setattr(RandomState, "restore", lambda self: torch.set_rng_state(self.cpu))
    with accelerator():
        both = zip(dropped_gradients(cached=True), dropped_gradients(cached=False), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in both) == restored


STAGES = {
    "at once": {},
    "in pieces": {"micro_batch_tokens": 30, "ema": 0.9, "loss": {"temperature_rate": 1e-2}},
    "recomputing": {"micro_batch_tokens": 30, "activation_checkpointing": True, "dropout": 0.1},
    "with hard negatives": {"loss": {"hardness": {"on": "all", "strength": 5}, "false_negatives": {"margin": 0.1}}},
    "half precision": {"precision": "bf16-mixed", "micro_batch_tokens": 30},
    "half precision, recomputing": {"precision": "bf16-mixed", "activation_checkpointing": True},
    "distilled": {"kind": "distill", "teacher": {"vectors": "nowhere", "loss": {"geometry": 1.0, "contrastive": 0.5}}},
}
BATCH = [*MIXED, Content.of("another text of another length", image(make_png(7)))]


class Batches:
    """Every step the same queries, documents of every kind, and one hard negative of each query."""

    def __init__(self, encoder, stage) -> None:
        self.stage = stage
        queries = [Content.of(f"the content {'very ' * i}{word}") for i, word in enumerate((*WORDS, "sky"))]
        self.sides = [encoder.preprocess(side) for side in (queries, [*BATCH, *reversed(BATCH)])]
        rng = np.random.default_rng(0)
        teacher = [rng.standard_normal((len(side), encoder.dimensions[0])).astype(np.float32) for side in self.sides]
        self.teacher = TeacherVectors((teacher[0], teacher[1]), encoder.dimensions[:1]) if stage.teacher else None

    def __call__(self, step: int) -> StepBatch:
        pairing = Pairing.in_order(5, 10)
        return StepBatch(self.stage.tasks[0], step, *self.sides, pairing, ("r",) * 5, self.teacher)


def trained(encoder, stage, directory: Path) -> list[dict[str, float]]:
    seen: list[dict[str, float]] = []
    batches = Batches(encoder, stage)
    run_stage(encoder, stage, batches, checkpoints=directory, sinks=[lambda scalars, _: seen.append(dict(scalars))])
    return seen


@pytest.mark.parametrize(
    "name", [n if n == "in pieces" else pytest.param(n, marks=pytest.mark.minutes) for n in STAGES]
)
def test_a_stage_is_that_of_the_processor(name: str, tiny_artifact: Path, tmp_path: Path) -> None:
    from model.artifact import load_encoder

    learning = {"projectors": 1e-3, "trunk": 1e-4, "head": 1e-4}
    base = {"steps": 2, "tasks": [{"name": "any", "batch_size": 5}], "trainable": learning, "temperature": 0.2}
    stage = stage_of(**{"dropout": 0.0, **base, **STAGES[name]})
    encoders = [load_encoder(tiny_artifact) for _ in range(2)]
    if name == "distilled":
        stage = stage.model_copy(update={"dimensions": encoders[0].dimensions[:1]})
    with accelerator() as device:
        found = trained(encoders[0], stage, tmp_path / "there")
        waits = Counter(wait.split("/")[-1] for wait in device.waits)
    expected = trained(encoders[1], stage, tmp_path / "here")
    loose = stage.precision != "32-true" or bool(stage.dropout)  # other rounding, other random numbers
    for name, value in expected[-1].items():
        if name.startswith(("loss", "gradient_norm", "any/")) and "accuracy" not in name:
            assert found[-1][name] == pytest.approx(value, rel=0.3 if loose else 1e-3, abs=0.2 if loose else 1e-4), name
    assert found[-1]["memory/device_gb"] > 0
    assert {"tokens_per_second", "memory/device_peak_gb"} <= found[-1].keys()
    moved = [(own - old).abs().max() for own, old in zip(*(e.head.parameters() for e in encoders), strict=True)]
    assert loose or max(moved) < 1e-6
    assert all(p.device.type == "cpu" for p in encoders[0].parameters())
    in_a_step = sum(count for wait, count in waits.items() if not wait.startswith(("stage.py", "ema.py", "saving.py")))
    assert in_a_step <= 2 * 40, waits


@pytest.mark.minutes
def test_a_stage_goes_on_from_its_checkpoint(tiny_artifact: Path, tmp_path: Path) -> None:
    from model.artifact import load_encoder

    encoders = [load_encoder(tiny_artifact) for _ in range(2)]
    changes = {"tasks": [{"name": "any", "batch_size": 5}], "trainable": {"projectors": 1e-3, "head": 1e-3}, "ema": 0.9}
    stage = stage_of(**changes, steps=4, checkpoint_every_steps=2)
    with accelerator():
        trained(encoders[0], stage, tmp_path / "whole")
        batches = Batches(encoders[1], stage)

        def stopping(step: int) -> StepBatch:
            if step == 3:
                raise KeyboardInterrupt
            return batches(step)

        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run_stage(load_encoder(tiny_artifact), stage, stopping, checkpoints=tmp_path / "cut")
        assert run_stage(encoders[1], stage, batches, checkpoints=tmp_path / "cut") == 2
    for one, other in zip(encoders[0].head.parameters(), encoders[1].head.parameters(), strict=True):
        assert torch.equal(one, other)


def test_pieces_are_copied_from_page_locked_memory() -> None:
    """The arrays of a batch that a loader has pinned are those that the device copies from."""
    rows = np.ones((3, 4), dtype=np.float32)
    with accelerator() as device:
        locked = pinned({"rows": rows})["rows"]
        assert device.is_pinned(torch.from_numpy(locked))
        assert not device.is_pinned(torch.from_numpy(rows))


def test_features_of_towers_are_those_of_the_processor(tiny_artifact: Path, tmp_path: Path) -> None:
    """The step moves the towers to the device and back; features are stored in half precision."""
    from components.features.config import FeaturesConfig
    from components.features.run import run
    from model.features import FeatureStore

    parts = [part for content in MIXED for part in content.parts if part.modality != "text"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.corpus.distinct_media", lambda _: iter(parts))
        paths = {"dataset": tmp_path, "model": tiny_artifact}
        run(FeaturesConfig(), **paths, output=tmp_path / "here")
        with accelerator() as device:
            assert run(FeaturesConfig(), **paths, output=tmp_path / "there")["stored"] == len(parts)
            assert device.waits
    here, there = (FeatureStore.open(tmp_path / place) for place in ("here", "there"))
    for part in parts:
        for (tower, cells), (other, found) in zip(here.items(part), there.items(part), strict=True):
            assert tower == other
            assert all(np.allclose(*pair, atol=1e-2) for pair in zip(cells, found, strict=True))


def test_texts_are_pooled_on_the_device(tiny_encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.train.feed import BatchMaker
    from model.training.world import ALONE

    contents = [Content.of(f"text {'and ' * i}{i}") for i in range(5)]

    def pooled() -> dict[str, np.ndarray]:
        maker = BatchMaker.__new__(BatchMaker)
        maker.encoder, maker.world, maker._pooled = tiny_encoder, ALONE, {}
        maker.work = _Members(contents)
        monkeypatch.setattr(BatchMaker, "order", lambda self, step: step)
        assert maker.pool_texts(range(1)) == 5
        return maker._pooled

    expected = pooled()
    with accelerator() as device:
        found = pooled()
        assert device.waits
    assert next(tiny_encoder.parameters()).device.type == "cpu"
    for digest, state_H in expected.items():
        assert np.allclose(found[digest], state_H, atol=1e-5)


@dataclass(frozen=True)
class _Members:
    """Work whose members are these."""

    contents: list[Content]
    pooled: bool = False

    @property
    def queries(self) -> list[Content]:
        return self.contents

    documents = queries

    def members(self, _: int) -> "_Members":
        return self
