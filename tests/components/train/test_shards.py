"""Processes that share the trunk out among them (FSDP2) train to the weights of a single process."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh

from components.train.config import TrainConfig
from components.train.run import run
from model.artifact import load_encoder
from model.content import Content
from model.errors import ConfigError
from model.training.checkpoints import CheckpointStore
from model.training.history import History
from model.training.sharding import TrunkShards, local
from model.training.strategy import shards_of
from model.training.world import World
from tests.components.train.together import config, gradients, train_together
from tests.side_by_side import side_by_side

ALL_OF_THE_TRUNK = {"projectors": 1e-3, "trunk": 1e-3, "head": 1e-3}
pytestmark = pytest.mark.timeout(600)


def alone(wanted: TrainConfig, dataset: Path, model: Path, where: Path) -> dict[str, float]:
    paths = {"dataset": dataset, "model": model, "features": None}
    return run(wanted, checkpoints=where / "checkpoints", output=where / "model", **paths)


def weights(where: Path) -> dict[str, torch.Tensor]:
    """All weights of an artifact, snapshots included."""
    files = sorted((where / "model").rglob("*.safetensors"))
    return {f"{p.relative_to(where)}:{name}": value for p in files for name, value in load_file(p).items()}


def agree(settings: dict, dataset: Path, model: Path, tmp_path: Path) -> None:
    """Loss, gradient norms, first gradients and what is written are those of one process."""
    alone(config(1, **settings), dataset, model, tmp_path / "one")
    side_by_side(train_together, config(2, "fsdp", **settings), dataset, model, tmp_path / "two")
    rough = 20.0 if "precision" in settings else 1.0  # bf16 keeps 8 bits
    for one, two in zip(*(History(tmp_path / name / "checkpoints").rows() for name in ("one", "two")), strict=True):
        figures = [name for name in one if name == "loss" or name.startswith("gradient_norm")]
        assert len(figures) >= 2
        assert {name: two[name] for name in figures} == pytest.approx(
            {name: one[name] for name in figures}, rel=2e-3 * rough
        )
    ours, theirs = gradients(tmp_path / "one"), gradients(tmp_path / "two")
    assert set(ours) == set(theirs)
    largest = max(float(gradient.abs().max()) for gradient in ours.values())
    assert largest > 1e-6, "without gradients agreement would prove nothing"
    for number, one in ours.items():
        torch.testing.assert_close(theirs[number], one, rtol=1e-3 * rough, atol=1e-5 * largest * rough**2)
    assert {name: w.shape for name, w in weights(tmp_path / "one").items()} == {
        name: w.shape for name, w in weights(tmp_path / "two").items()
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"micro_batch_tokens": 24},
        {"trainable": ALL_OF_THE_TRUNK, "gradient_clip": 1e-3},
        {"trainable": ALL_OF_THE_TRUNK, "micro_batch_tokens": 24},
        {"trainable": {"trunk": 1e-3}, "loss": {}},
        {"trainable": ALL_OF_THE_TRUNK, "precision": "bf16-mixed"},
        {"trainable": ALL_OF_THE_TRUNK, "ema": 0.9, "activation_checkpointing": True},
    ],
    ids=[
        "last-layer",
        "last-layer-in-pieces",
        "trunk-clipped",
        "trunk-in-pieces",
        "trunk-alone",
        "bf16",
        "ema-recomputed",
    ],
)
def test_loss_and_gradients_of_shards_are_those_of_one_process(mixed, still, tmp_path, changes) -> None:
    """Shares without a picture or without a sound are among them; they neither hang nor change anything."""
    agree({"steps": 2, "checkpoint_every_steps": 1, "snapshots": 1, **changes}, mixed, still, tmp_path)


def test_a_checkpoint_of_shards_is_continued_by_one_process_and_the_other_way_round(mixed, still, tmp_path) -> None:
    settings = {"steps": 4, "checkpoint_every_steps": 2, "trainable": ALL_OF_THE_TRUNK}
    alone(config(1, **settings), mixed, still, tmp_path / "whole")
    side_by_side(train_together, config(2, "fsdp", **settings), mixed, still, tmp_path / "shards")
    for where in ("whole", "shards"):  # as if killed after the second step
        checkpoints = tmp_path / where / "checkpoints"
        for path in checkpoints.glob("step-00000004*"):
            path.unlink()
        assert CheckpointStore(checkpoints).steps() == [2]
    uninterrupted = weights(tmp_path / "whole")
    (tmp_path / "shards/model").rename(tmp_path / "first-shards")
    (tmp_path / "whole/model").rename(tmp_path / "first-whole")
    assert alone(config(1, **settings), mixed, still, tmp_path / "shards")["resumed_from"] == 2
    side_by_side(train_together, config(2, "fsdp", **settings), mixed, still, tmp_path / "whole")
    assert [int(row["step"]) for row in History(tmp_path / "whole/checkpoints").rows()] == [1, 2, 3, 4]
    start = weights_of(still)
    for where in ("shards", "whole"):
        found = weights(tmp_path / where)
        for name, one in uninterrupted.items():
            torch.testing.assert_close(found[name], one, rtol=1e-3, atol=2e-4)
        moved = max(float((found[f"model/{n}"] - w).abs().max()) for n, w in start.items() if w.is_floating_point())
        assert moved > 1e-3, "weights that did not move would agree anyhow"


def weights_of(artifact: Path) -> dict[str, torch.Tensor]:
    return {f"{p.name}:{name}": value for p in artifact.glob("*.safetensors") for name, value in load_file(p).items()}


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny EmbeddingGemma 2: every kind of content is a call of its own, and a tower of its own below the trunk."""
    from model.sentence_transformer.build import build_sentence_transformer
    from tests.model.sentence_transformer.tiny import make

    home = tmp_path_factory.mktemp("gemma")
    settings = {"video": "frames", "video_side": 48, "max_frames": 3, "dimensions": [48, 24]}
    build_sentence_transformer(str(make("gemma2", home / "made")), settings, home=home).save(home / "artifact")
    return home / "artifact"


def test_shards_of_a_model_of_sentence_transformers(mixed, gemma, tmp_path) -> None:
    settings = {"steps": 2, "checkpoint_every_steps": 1, "trainable": {"model": 1e-3}, "micro_batch_tokens": 100}
    agree(settings, mixed, gemma, tmp_path)


def test_what_is_not_shared_out(tiny_encoder, gemma, capsys) -> None:
    two = World(0, 2, 1)
    stage = config(2, trainable={"projectors": 1e-3}).stage
    assert shards_of(tiny_encoder, stage, World()) is None
    assert shards_of(tiny_encoder, stage, two) is None
    assert "each process keeps all of it (ddp)" in capsys.readouterr().err
    assert shards_of(tiny_encoder, config(2).stage, two) is not None
    for changes in ({}, {"micro_batch_tokens": 9, "lora": {"rank": 2}}):
        with pytest.raises(ConfigError, match="in pieces only"):
            shards_of(load_encoder(gemma), config(2, **changes).stage, two)


def parts(rank: int, model: Path, where: Path) -> None:
    """Share a trunk out and put it back; for ``side_by_side``."""
    dist.init_process_group("gloo")
    encoder = load_encoder(model)
    batch = encoder.preprocess([Content.of("a picture of a cat"), Content.of("dog")])
    before, state = encoder(batch), {name: p.clone() for name, p in encoder.named_parameters()}
    shards = TrunkShards.of(encoder)
    shards.apply(init_device_mesh("cpu", (2,)))
    held = {name: local(p).numel() for name, p in encoder.named_parameters()}
    torch.testing.assert_close(encoder(batch), before)
    shards.undo()
    assert type(encoder.trunk) is type(load_encoder(model).trunk), "no trace of shards"
    assert all(torch.equal(p, state[name]) for name, p in encoder.named_parameters())
    torch.testing.assert_close(encoder(batch), before)
    sizes = {name: [held[name], p.numel()] for name, p in encoder.named_parameters()}
    (where / f"{rank}.json").write_text(json.dumps(sizes))


def test_each_process_holds_half_of_the_trunk(still, tmp_path) -> None:
    side_by_side(parts, still, tmp_path)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for name, (first, whole) in ranks[0].items():
        second = ranks[1][name][0]
        assert (first, second) == (whole, whole) if not name.startswith("trunk.") else first + second == whole, name
    for found in ranks:
        held, whole = (sum(size[i] for name, size in found.items() if name.startswith("trunk.")) for i in range(2))
        assert 0.45 < held / whole < 0.55
