"""Several processes train one stage to the weights of a single process, whatever each of them happens to hold."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from components.train.launch import ROOT
from components.train.run import run
from model.errors import ConfigError, DataError
from model.training.guard import TrainingError
from model.training.history import History
from model.training.world import World
from tests.components.train.together import config, gradients, train


@pytest.mark.timeout(300)
@pytest.mark.parametrize("micro_batch_tokens", [None, 24])
def test_loss_and_gradients_of_two_processes_are_those_of_one(mixed, still, tmp_path, micro_batch_tokens) -> None:
    curves: dict[int, list[float]] = {1: [], 2: []}
    for processes, curve in curves.items():
        wanted = config(processes, steps=2, checkpoint_every_steps=1, micro_batch_tokens=micro_batch_tokens)
        sinks = (lambda scalars, step, curve=curve: curve.append(scalars["loss"]),)
        assert train(wanted, mixed, still, tmp_path / str(processes), sinks)["steps"] == 2
    assert curves[2] == pytest.approx(curves[1], rel=1e-4)
    ours, theirs = gradients(tmp_path / "1"), gradients(tmp_path / "2")
    assert set(ours) == set(theirs)
    largest = max(float(gradient.abs().max()) for gradient in ours.values())
    assert largest > 1e-4, "without gradients agreement would prove nothing"
    for number, one in ours.items():
        torch.testing.assert_close(theirs[number], one, rtol=1e-3, atol=1e-5 * largest)
    assert (tmp_path / "2/page.html").stat().st_size > 1000
    manifest = json.loads((tmp_path / "2/checkpoints/step-00000002.json").read_text())
    assert manifest["processes"] == 2


@pytest.mark.timeout(300)
def test_negatives_of_other_processes_matter(mixed, still, tmp_path) -> None:
    """So agreement above means that they were there."""
    wanted = config(2, steps=1, loss={"temperature_rate": 1e-2, "negatives": "process"})
    train(config(1, steps=1), mixed, still, tmp_path / "1")
    train(wanted, mixed, still, tmp_path / "2")
    ours, theirs = gradients(tmp_path / "1"), gradients(tmp_path / "2")
    assert max(float((ours[n] - theirs[n]).abs().max() / ours[n].abs().max()) for n in ours) > 0.2


@pytest.mark.timeout(300)
def test_stopped_with_two_processes_goes_on_with_one(mixed, still, tmp_path) -> None:
    steps = {"steps": 60, "checkpoint_every_steps": 1000, "trainable": {"projectors": 1e-3}}
    code = "import sys, json; from pathlib import Path; from tests.components.train.together import *; "
    code += "train(TrainConfig.parse(json.loads(sys.argv[1])), *map(Path, sys.argv[2:]))"
    command = [sys.executable, "-c", code, config(2, **steps).model_dump_json()]
    process = subprocess.Popen([*command, str(mixed), str(still), str(tmp_path / "cut")], cwd=ROOT)
    history = tmp_path / "cut/checkpoints/history.jsonl"
    while not history.is_file() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(100) != 0
    result = train(config(1, **steps), mixed, still, tmp_path / "cut")
    assert 0 < result["resumed_from"] < 60
    rows = History(tmp_path / "cut/checkpoints").rows()
    assert [int(row["step"]) for row in rows] == list(range(1, 61))


@pytest.mark.timeout(120)
def test_what_went_wrong_in_a_process_is_said_in_this_one(mixed, still, tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"process \d: .*projektors"):
        train(config(2, trainable={"projektors": 1e-3}), mixed, still, tmp_path)


def test_a_batch_smaller_than_the_processes_is_refused_before_training(mixed, still, tmp_path) -> None:
    paths = {"dataset": mixed, "model": still, "features": None}
    with pytest.raises(DataError, match="4 members for 5 processes"):
        run(config(1), **paths, checkpoints=tmp_path, output=tmp_path / "o", world=World(0, 5, 1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RANK": "0"}, "start the processes with torchrun"),
        ({"RANK": "0", "WORLD_SIZE": "3", "GROUP_WORLD_SIZE": "2"}, "every node needs equally many"),
    ],
)
def test_half_an_environment_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        World.of(given)


def test_world_is_that_of_torchrun() -> None:
    assert World.of({}) == World()
    found = World.of({"RANK": "3", "WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"})
    assert (found.rank, found.processes_per_node, found.first) == (3, 4, False)
