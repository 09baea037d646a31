"""Several processes train one stage to the weights of a single process, whatever each of them happens to hold."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from components.train.config import TrainConfig
from components.train.launch import ROOT, launch
from components.train.run import run
from data.records import PartRef, Record
from data.shards import write_shard
from model.content import Modality, media_digest
from model.errors import ConfigError, DataError
from model.training.guard import TrainingError
from model.training.history import History
from model.training.world import World
from tests.conftest import make_ogg, make_png

MEDIA = 8


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of a word and a picture or a sound, so that a share of a batch may lack one of the modalities."""
    directory = tmp_path_factory.mktemp("mixed")
    media, rows = {}, []
    for i in range(MEDIA):
        modality, data = (Modality.IMAGE, make_png(i)) if i % 3 else (Modality.AUDIO, make_ogg(i, 0.3))
        media[digest := media_digest(data)] = (modality, data)
        rows.append(
            Record(
                id=f"toy/{i}",
                task="text_to_image",
                query=(PartRef(Modality.TEXT, text=f"number {i}" + " and more" * (i % 4)),),
                positives=((PartRef(modality, media=digest),),),
                negatives=(),
                source="toy",
                languages=("en",),
                license="MIT",
                group=str(i),
                split="train",
            )
        )
    write_shard(directory / "toy.parquet", rows, media)
    return directory


@pytest.fixture(scope="module")
def still(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, whose pattern depends on the process."""
    where = tmp_path_factory.mktemp("still") / "model"
    shutil.copytree(tiny_artifact, where)
    document = json.loads((where / "config.json").read_text())
    document["trunk"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (where / "config.json").write_text(json.dumps(document))
    return where


def config(processes: int, **changes: object) -> TrainConfig:
    stage = {
        "kind": "align",
        "steps": 5,
        "tasks": [{"name": "text_to_image", "batch_size": 4, "query_task": "query"}],
        "loss": {"temperature_rate": 1e-2},
        "temperature": 0.5,
        "trainable": {"projectors": 1e-3, "trunk.encoder.layer.1": 1e-3, "head": 1e-3},
        "prefix_dropout": 0.5,
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        "warmup_steps": 0,
        **changes,
    }
    return TrainConfig.parse({"stage": stage, "launch": {"processes": processes}})


def train(wanted: TrainConfig, dataset: Path, model: Path, where: Path, sinks: tuple = ()) -> dict[str, float]:
    paths = {"dataset": dataset, "model": model, "features": None, "report": where / "page.html"}
    return launch(wanted, sinks=sinks, checkpoints=where / "checkpoints", output=where / "model", **paths)


def gradients(where: Path) -> dict[int, torch.Tensor]:
    """Those of the first step by parameter: a tenth of each is in AdamW's state, which has none of unused ones."""
    saved = torch.load(where / "checkpoints/step-00000001.ckpt", weights_only=True)
    return {number: state["exp_avg"] for number, state in saved["optimizer_states"][0]["state"].items()}


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
    code = "import sys, json; from tests.components.train.test_processes import *; "
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
