"""A stage learns, and a killed stage goes on to the very weights of an uninterrupted one."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.train.config import TrainConfig
from components.train.run import run
from model.errors import ConfigError, DataError
from tests.components.train.conftest import NAMES


class Killed(BaseException):
    """Stands for a kill: not an exception that anything catches."""


def config(**changes: object) -> TrainConfig:
    stage = {
        "kind": "align",
        "steps": 6,
        "tasks": [{"name": "text_to_image", "batch_size": 4}],
        "trainable": {"projectors": 1e-2},
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        "snapshots": 1,
        **changes,
    }
    return TrainConfig.parse({"stage": stage})


def train(config: TrainConfig, dataset: Path, model: Path, where: Path, sinks: list = []) -> dict[str, float]:  # noqa: B006
    return run(
        config,
        dataset=dataset,
        model=model,
        features=None,
        checkpoints=where / "checkpoints",
        output=where / "model",
        sinks=sinks,
    )


def train_cut(stage: TrainConfig, dataset: Path, model: Path, where: Path) -> dict[str, float]:
    """Train with a kill after step 5, then again to the end."""

    def kill(scalars: Mapping[str, float], step: int) -> None:
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(stage, dataset, model, where, [kill])
    return train(stage, dataset, model, where)


@pytest.mark.parametrize("trainable", [{"projectors": 1e-2}, {"projectors": 1e-2, "trunk": 1e-3, "head": 1e-3}])
def test_a_killed_run_resumes_to_the_same_weights(dataset, tiny_artifact, tmp_path, trainable) -> None:
    stage = config(trainable=trainable)
    whole = train(stage, dataset, tiny_artifact, tmp_path / "whole")
    resumed = train_cut(stage, dataset, tiny_artifact, tmp_path / "cut")
    assert (whole["resumed_from"], resumed["resumed_from"]) == (0, 4)
    for part in ("projectors", "head", "trunk"):
        before = load_file(tiny_artifact / f"{part}.safetensors")
        one = load_file(tmp_path / "whole" / "model" / f"{part}.safetensors")
        two = load_file(tmp_path / "cut" / "model" / f"{part}.safetensors")
        assert all(torch.equal(one[name], two[name]) for name in one), part
        learned = any(not torch.equal(one[name], before[name]) for name in one)
        assert learned == (part in trainable), f"{part}: what learned is not what the stage names"


def test_the_loss_falls_and_is_reported(dataset, tiny_artifact, tmp_path) -> None:
    seen: list[tuple[int, float]] = []
    result = train(
        config(steps=40), dataset, tiny_artifact, tmp_path, [lambda scalars, step: seen.append((step, scalars["loss"]))]
    )
    assert [step for step, _ in seen] == list(range(1, 41))
    assert seen[-1][1] < seen[0][1]
    assert result["pooled_texts"] == len(NAMES)
    assert list((tmp_path / "model" / "snapshots").glob("*.safetensors"))


def test_a_prefix_that_matches_nothing_is_refused(dataset, tiny_artifact, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"\['towers'\] match no parameter"):
        train(config(trainable={"towers": 1e-3}), dataset, tiny_artifact, tmp_path)


def test_a_task_without_data_is_refused(dataset, tiny_artifact, tmp_path) -> None:
    with pytest.raises(DataError, match="'bitext' has 0 training group"):
        train(config(tasks=[{"name": "bitext"}]), dataset, tiny_artifact, tmp_path)


def test_dropout_is_active_where_something_learns_and_only_there(tiny_artifact) -> None:
    from model.artifact import load_encoder
    from model.training.module import ContrastiveModule

    encoder = load_encoder(tiny_artifact)
    module = ContrastiveModule(encoder, config(trainable={"projectors": 1e-3, "trunk.encoder.layer.1": 1e-4}).stage)
    module.on_train_start()
    assert encoder.projectors["image"].dropout.training
    assert encoder.trunk.encoder.layer[1].output.dropout.training
    assert not encoder.trunk.encoder.layer[0].output.dropout.training
    assert not encoder.trunk.embeddings.dropout.training
    assert not any(m.training for m in encoder.frontends["image"].tower.modules())


def prompted(dataset: Path, model: Path, where: Path, rate: float, task: str | None = "query", **changes) -> dict:
    tasks = [{"name": "text_to_image", "batch_size": 4, "query_task": task}]
    train(config(tasks=tasks, prefix_dropout=rate, **changes), dataset, model, where)
    return load_file(where / "model" / "projectors.safetensors")


def test_prefix_dropout_of_zero_and_one_equal_always_and_never(dataset, tiny_artifact, tmp_path) -> None:
    weights = {
        name: prompted(dataset, tiny_artifact, tmp_path / name, rate, task)
        for name, rate, task in (
            ("with", 0.0, "query"),
            ("all", 1.0, "query"),
            ("none", 0.0, None),
            ("half", 0.5, "query"),
        )
    }

    def equal(a: str, b: str) -> bool:
        return all(torch.equal(weights[a][k], weights[b][k]) for k in weights[a])

    assert equal("all", "none")
    assert not equal("with", "none")
    assert not equal("half", "with")
    assert not equal("half", "none")


@pytest.mark.parametrize("trainable", [{"projectors": 1e-2}, {"projectors": 1e-2, "trunk": 1e-3}])
def test_prefix_dropout_resumes_to_the_same_weights(dataset, tiny_artifact, tmp_path, trainable) -> None:
    tasks = [{"name": "text_to_image", "batch_size": 4, "query_task": "query"}]
    stage = config(tasks=tasks, prefix_dropout=0.5, trainable=trainable)
    train(stage, dataset, tiny_artifact, tmp_path / "whole")
    resumed = train_cut(stage, dataset, tiny_artifact, tmp_path / "cut")
    assert resumed["resumed_from"] == 4
    for name in ("projectors", "trunk"):
        whole, cut = (load_file(tmp_path / w / "model" / f"{name}.safetensors") for w in ("whole", "cut"))
        assert all(torch.equal(whole[k], cut[k]) for k in whole)
