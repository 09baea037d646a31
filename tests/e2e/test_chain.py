"""The whole chain with a tiny random encoder on a small part of the real corpus, as a user starts it.

The first start is killed in the middle of training; everything else is what the second start makes of it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = [
    "validate",
    "audit",
    "init_model",
    "features",
    "train-align",
    "train-finetune",
    "soup",
    "evaluate",
    "export",
    "register",
    "serve_check",
    "gate",
    "drift",
]
BEFORE_TRAINING = {"validate", "audit", "init_model", "features"}
NEVER_CACHED = {"register", "serve_check", "gate", "drift"}
pytestmark = pytest.mark.timeout(1200)


def omnivec(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    environment = {**os.environ, "OMNIVEC_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1100, check=False)


def arguments(corpus: Path) -> list[str]:
    tasks = '["text_to_image", "speech_to_text", "text_to_video_motion", "composed_to_image", "bitext"]'
    settings = [f"corpus={corpus}", f"evaluation.tasks={tasks}", "evaluation.least_queries=2", "stages.0.steps=60"]
    return ["run", "--recipe", "debug", *(part for s in settings for part in ("--set", s))]


def run(home: Path, corpus: Path) -> tuple[dict, str]:
    done = omnivec(home, *arguments(corpus))
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads((home / "runs" / "latest" / "summary.json").read_text(encoding="utf-8")), done.stderr


def kill_in_training(home: Path, corpus: Path) -> None:
    """Start a run and kill all of it, without warning, once its first stage has kept a checkpoint."""
    environment = {**os.environ, "OMNIVEC_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipelines.cli", *arguments(corpus)]
    with (home / "killed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 600
        while not list((home / "checkpoints").glob("*/step-*.json")):
            assert process.poll() is None, (home / "killed.log").read_text()[-6000:]
            assert time.monotonic() < until, (home / "killed.log").read_text()[-6000:]
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus") / "small"
    made = omnivec(directory.parent, "data", "sample", "--output", str(directory), "--groups", "5")
    assert made.returncode == 0, made.stderr
    return directory


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def restarted(home: Path, corpus: Path) -> tuple[dict, str]:
    kill_in_training(home, corpus)
    assert not (home / "runs" / "latest" / "summary.json").exists()
    return run(home, corpus)


@pytest.fixture(scope="module")
def summary(restarted: tuple[dict, str]) -> dict:
    return restarted[0]


def test_a_killed_run_goes_on_from_its_checkpoint(restarted: tuple[dict, str]) -> None:
    found = re.search(r"align: resumed at step (\d+) of 60", restarted[1])
    assert found, restarted[1][-6000:]
    assert 0 < int(found[1]) < 60


def test_every_step_ran(summary: dict, home: Path) -> None:
    assert [s["name"] for s in summary["steps"]] == STEPS
    status = {s["name"]: s["status"] for s in summary["steps"]}
    assert status == {name: "cached" if name in BEFORE_TRAINING else "ok" for name in STEPS}
    assert all(s["seconds"] > 0 for s in summary["steps"] if s["status"] == "ok")
    made = (home / "killed.log").read_text(encoding="utf-8")
    assert all(f"{name} ok in" in made for name in BEFORE_TRAINING)


def test_the_summary_keeps_its_contract(summary: dict) -> None:
    assert summary["model"]["name"] == "omnivec"
    assert summary["model"]["version"] == "1"
    assert summary["model"]["alias"] in {"challenger", "champion"}
    assert summary["metrics"]
    assert summary["data"]["digest"]
    assert Path(summary["report"]).read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_the_service_answered_with_the_offline_vectors(home: Path, summary: dict) -> None:
    checked = next(path for path in (home / "pipeline").glob("*/serve-check/result"))
    cosine = json.loads(checked.read_text(encoding="utf-8"))["cosine"]
    assert {"text", "image", "audio", "video", "interleaved"} <= {kind.split("/")[0] for kind in cosine}
    assert min(entry["min"] for entry in cosine.values()) >= 0.9999


@pytest.mark.minutes
def test_a_second_run_reuses_what_did_not_change_and_remakes_what_is_gone(
    home: Path, corpus: Path, summary: dict
) -> None:
    for gone in (home / "pipeline").glob("*/export/exported"):
        shutil.rmtree(gone)
    status = {s["name"]: s["status"] for s in run(home, corpus)[0]["steps"]}
    assert status == {s: "ok" if s in NEVER_CACHED | {"export"} else "cached" for s in STEPS}
