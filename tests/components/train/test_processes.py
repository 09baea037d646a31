"""Several processes train one stage to the weights of a single process, whatever each of them happens to hold."""

import json
import os
import signal
from pathlib import Path

import pytest

from components.train import launch
from components.train.run import run
from model.errors import ConfigError, DataError
from model.training.guard import TrainingError
from model.training.history import History
from model.training.world import World
from tests.components.train.together import Case, agree, alone, config, train, train_cases
from tests.side_by_side import side_by_side

CASES = {"whole-batch": {}, "in-pieces": {"micro_batch_tokens": 24}}
CONSTANTS = "embeddings of other processes are constants"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def two(mixed, still, tmp_path_factory) -> Path:
    """Directory with what two processes made of every case, and of the first with what must make a difference."""
    where = tmp_path_factory.mktemp("two")
    cases = [Case(config(2, **changes), mixed, still, where / name) for name, changes in CASES.items()]
    own = config(2, loss={"temperature_rate": 1e-2, "negatives": "process"})
    cases += [Case(own, mixed, still, where / "own"), Case(config(2), mixed, still, where / "constants", CONSTANTS)]
    side_by_side(train_cases, cases)
    return where


@pytest.mark.parametrize("name", CASES)
def test_loss_gradients_and_weights_of_two_processes_are_those_of_one(mixed, still, two, tmp_path, name) -> None:
    alone(config(1, **CASES[name]), mixed, still, tmp_path)
    agree(tmp_path, two / name, still)
    assert json.loads((two / name / "checkpoints/step-00000002.json").read_text())["processes"] == 2


@pytest.mark.parametrize("name", ["own", "constants"])
def test_negatives_of_other_processes_and_their_gradients_matter(mixed, still, two, tmp_path, name) -> None:
    """So agreement above means that they were there."""
    alone(config(1), mixed, still, tmp_path)
    with pytest.raises(AssertionError):
        agree(tmp_path, two / name, still)


def losses(checkpoints: Path) -> dict[int, float]:
    return {int(row["step"]): row["loss"] for row in History(checkpoints).rows()}


@pytest.mark.minutes
def test_stopped_with_two_processes_goes_on_with_one(mixed, still, tmp_path, monkeypatch) -> None:
    """Processes of torchrun: their scalars come here as they are logged, and SIGTERM goes there."""
    wanted = {"steps": 60, "checkpoint_every_steps": 1000, "trainable": {"projectors": 1e-3}}
    seen: dict[int, float] = {}
    monkeypatch.setattr(launch, "LOOK_EVERY_SECONDS", 0.05)

    def stop(scalars: dict[str, float], step: int) -> None:
        if not seen:
            os.kill(os.getpid(), signal.SIGTERM)
        seen[step] = scalars["loss"]

    with pytest.raises(TrainingError, match="start the same run again"):
        train(config(2, **wanted), mixed, still, tmp_path / "cut", (stop,))
    assert (tmp_path / "cut/page.html").stat().st_size > 1000
    result = train(config(1, **wanted), mixed, still, tmp_path / "cut")
    assert 0 < result["resumed_from"] < 60
    alone(config(1, **wanted), mixed, still, tmp_path / "one")
    one, cut = (
        {int(r["step"]): r["loss"] for r in History(tmp_path / w / "checkpoints").rows()} for w in ("one", "cut")
    )
    assert list(cut) == list(range(1, 61))
    assert cut == pytest.approx(one, rel=1e-3)
    assert seen == {step: cut[step] for step in seen}
    assert len(seen) == result["resumed_from"]


@pytest.mark.minutes
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
