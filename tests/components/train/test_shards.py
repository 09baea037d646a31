"""Processes that share the trunk out among them (FSDP2) train to the weights of a single process."""

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from model.artifact import load_encoder
from model.content import Content
from model.errors import ConfigError
from model.training.checkpoints import CheckpointStore
from model.training.history import History
from model.training.sharding import TrunkShards, local
from model.training.strategy import shards_of
from model.training.world import World
from tests.components.train.together import Case, agree, alone, config, same_weights, train_cases, weights
from tests.side_by_side import side_by_side

ALL_OF_THE_TRUNK = {"projectors": 1e-3, "trunk": 1e-3, "head": 1e-3}
CASES = {
    "last-layer": {"snapshots": 1},
    "last-layer-in-pieces": {"micro_batch_tokens": 24},
    "trunk-clipped": {"trainable": ALL_OF_THE_TRUNK, "gradient_clip": 1e-3},
    "trunk-in-pieces": {"trainable": ALL_OF_THE_TRUNK, "micro_batch_tokens": 24},
    "trunk-in-parts": {"trainable": ALL_OF_THE_TRUNK, "micro_batch_tokens": 24},
    "trunk-alone": {"trainable": {"trunk": 1e-3}, "loss": {}},
    "bf16": {"trainable": ALL_OF_THE_TRUNK, "precision": "bf16-mixed"},
    "ema-recomputed": {"trainable": ALL_OF_THE_TRUNK, "ema": 0.9, "activation_checkpointing": True},
}
GEMMA_CASES = {
    "gemma": {"trainable": {"model": 1e-3}},
    "gemma-in-pieces": {"trainable": {"model": 1e-3}, "micro_batch_tokens": 100},
}
PARTS = {"trunk-in-parts": 1}  # each content with media is a part of its own
FAULTS = ["whole parameters are not averaged", "embeddings of other processes are constants"]
ROUGH = {"bf16": 20.0}  # 8 bits
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny EmbeddingGemma 2: every kind of content is a call of its own, and a tower of its own below the trunk."""
    from model.sentence_transformer.build import build_sentence_transformer
    from tests.model.sentence_transformer.tiny import make

    home = tmp_path_factory.mktemp("gemma")
    settings = {"video": "frames", "video_side": 48, "max_frames": 3, "dimensions": [48, 24]}
    build_sentence_transformer(str(make("gemma2", home / "made")), settings, home=home).save(home / "artifact")
    return home / "artifact"


@pytest.fixture(scope="module")
def two(mixed, still, gemma, tmp_path_factory) -> Path:
    """Directory with what two processes made of every case, and of the first with each fault.

    Shares without a picture or without a sound are among them; they neither hang nor change anything.
    """
    where = tmp_path_factory.mktemp("two")
    cases = [
        Case(config(2, "fsdp", **changes), mixed, still, where / name, part_bytes=PARTS.get(name))
        for name, changes in CASES.items()
    ]
    cases += [Case(config(2, "fsdp", **changes), mixed, gemma, where / name) for name, changes in GEMMA_CASES.items()]
    cases += [Case(config(2, "fsdp"), mixed, still, where / fault, fault) for fault in FAULTS]
    side_by_side(train_cases, cases, seconds=240)
    return where


@pytest.mark.parametrize("name", CASES)
def test_loss_gradients_and_weights_of_shards_are_those_of_one_process(mixed, still, two, tmp_path, name) -> None:
    alone(config(1, **CASES[name]), mixed, still, tmp_path)
    agree(tmp_path, two / name, still, ROUGH.get(name, 1.0))


@pytest.mark.parametrize("name", GEMMA_CASES)
def test_shards_of_a_model_of_sentence_transformers(mixed, gemma, two, tmp_path, name) -> None:
    """Shares have one or two kinds of content, so one process makes more calls of its own than the other."""
    alone(config(1, **GEMMA_CASES[name]), mixed, gemma, tmp_path)
    agree(tmp_path, two / name, gemma)


def test_faults_are_found(mixed, still, two, tmp_path) -> None:
    """So agreement above means that gradients of other processes were there."""
    alone(config(1), mixed, still, tmp_path)
    for fault in FAULTS:
        with pytest.raises(AssertionError):
            agree(tmp_path, two / fault, still)


@pytest.mark.minutes
def test_a_checkpoint_of_shards_is_continued_by_one_process_and_the_other_way_round(mixed, still, tmp_path) -> None:
    settings = {"steps": 4, "checkpoint_every_steps": 2, "trainable": ALL_OF_THE_TRUNK}
    alone(config(1, **settings), mixed, still, tmp_path / "whole")
    shards = config(2, "fsdp", **settings)
    side_by_side(train_cases, [Case(shards, mixed, still, tmp_path / "shards")])
    for where in ("whole", "shards"):  # as if killed after the second step
        checkpoints = tmp_path / where / "checkpoints"
        for path in checkpoints.glob("step-00000004*"):
            path.unlink()
        assert CheckpointStore(checkpoints).steps() == [2]
    uninterrupted = weights(tmp_path / "whole/model")
    for where in ("whole", "shards"):
        (tmp_path / where / "model").rename(tmp_path / f"first-{where}")
    assert alone(config(1, **settings), mixed, still, tmp_path / "shards")["resumed_from"] == 2
    side_by_side(train_cases, [Case(shards, mixed, still, tmp_path / "whole")])
    assert [int(row["step"]) for row in History(tmp_path / "whole/checkpoints").rows()] == [1, 2, 3, 4]
    for where in ("shards", "whole"):
        same_weights(uninterrupted, weights(tmp_path / where / "model"), weights(still), rough=1.0)


def test_what_is_not_shared_out(tiny_encoder, gemma, capsys) -> None:
    two = World(0, 2, 1)
    stage = config(2, trainable={"projectors": 1e-3}).stage
    assert shards_of(tiny_encoder, stage, World()) is None
    assert shards_of(tiny_encoder, stage, two) is None
    assert "each process keeps all of it (ddp)" in capsys.readouterr().err
    assert shards_of(tiny_encoder, config(2).stage, two) is not None
    with pytest.raises(ConfigError, match="leave lora out"):
        shards_of(load_encoder(gemma), config(2, lora={"rank": 2}).stage, two)


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
