"""A bad step changes nothing and is described; several end the stage; lack of memory names the knobs."""

import json

import pytest
import torch

from model.training.batch import StepBatch
from model.training.config import StageConfig
from model.training.guard import TrainingError, out_of_memory
from model.training.stage import run_stage
from tests.model.training.toy import stage_of, toy_batches


def poison(encoder, steps: set[int]):
    """Make the projector's output infinite at the given calls."""
    calls = iter(range(10_000))

    def hook(module, args, output):
        return output * float("inf") if next(calls) in steps else output

    return encoder.projectors["image"].register_forward_hook(hook)


def train(encoder, stage: StageConfig, where) -> None:
    run_stage(encoder, stage, toy_batches(encoder, stage), checkpoints=where)


def test_one_bad_step_is_left_out_and_described(tiny_encoder, tmp_path, capsys) -> None:
    poison(tiny_encoder, {2})
    train(tiny_encoder, stage_of(steps=5), tmp_path)
    assert all(torch.isfinite(p).all() for p in tiny_encoder.parameters() if p.is_floating_point())
    (fact,) = [json.loads(line) for line in (tmp_path / "bad-steps.jsonl").read_text().splitlines()]
    assert (fact["step"], fact["task"], fact["ids"]) == (2, "text_to_image", ["r0", "r1", "r2", "r3"])
    assert "loss" in fact["loss_parts"]
    assert fact["gradient_groups"] == ["projectors"]
    assert fact["gradients"][0].startswith("projectors.image")
    assert "step 2 (text_to_image) left out, not finite" in capsys.readouterr().err


def test_a_bad_step_changes_no_weight(tiny_encoder, tmp_path) -> None:
    before = {n: p.clone() for n, p in tiny_encoder.named_parameters()}
    poison(tiny_encoder, {0, 1})
    train(tiny_encoder, stage_of(steps=2, max_bad_steps=3), tmp_path)
    assert all(torch.equal(before[n], p) for n, p in tiny_encoder.named_parameters())


def test_several_in_a_row_end_the_stage(tiny_encoder, tmp_path) -> None:
    poison(tiny_encoder, {1, 3, 4})
    with pytest.raises(TrainingError, match=r"not finite in 2 steps in a row, up to step 4 \(task text_to_image"):
        train(tiny_encoder, stage_of(steps=9, max_bad_steps=2), tmp_path)


@pytest.mark.parametrize(
    "words", ["CUDA out of memory. Tried", "[enforce fail] DefaultCPUAllocator: can't allocate memory"]
)
def test_lack_of_memory_names_the_knobs(tiny_encoder, tmp_path, words) -> None:
    stage = stage_of(steps=3)
    calls = iter(range(100))

    def hook(module, args):
        if next(calls) == 1:
            raise RuntimeError(words)

    tiny_encoder.projectors["image"].register_forward_pre_hook(hook)
    with pytest.raises(TrainingError) as caught:
        train(tiny_encoder, stage, tmp_path)
    message = str(caught.value)
    assert "out of memory at step 1, a batch of task text_to_image" in message
    for knob in (
        "micro_batch_tokens (not set)",
        "tasks.text_to_image.batch_size (now 4)",
        "precision: bf16-mixed",
        words,
    ):
        assert knob in message


def test_other_errors_are_not_lack_of_memory(tiny_encoder, tmp_path) -> None:
    assert out_of_memory(RuntimeError("shapes differ"), stage_of(), None) is None
    assert "before the first step" in str(out_of_memory(MemoryError(), stage_of(), None))


def test_ids_are_optional() -> None:
    assert StepBatch.__dataclass_fields__["ids"].default == ()
