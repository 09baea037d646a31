"""The whole chain with a tiny random encoder on a small part of the real corpus, as a user starts it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = [
    "validate",
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
NEVER_CACHED = {"register", "serve_check", "gate", "drift"}
pytestmark = [pytest.mark.timeout(1200), pytest.mark.xdist_group("e2e")]


def omnivec(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    environment = {**os.environ, "OMNIVEC_HOME": str(home), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1100, check=False)


def run(home: Path, corpus: Path) -> dict:
    tasks = '["text_to_image", "speech_to_text", "text_to_video_motion", "composed_to_image", "bitext"]'
    settings = [f"corpus={corpus}", f"evaluation.tasks={tasks}", "evaluation.least_queries=2"]
    done = omnivec(home, "run", "--recipe", "debug", *(part for s in settings for part in ("--set", s)))
    assert done.returncode == 0, done.stderr[-6000:]
    return json.loads((home / "runs" / "latest" / "summary.json").read_text(encoding="utf-8"))


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
def summary(home: Path, corpus: Path) -> dict:
    return run(home, corpus)


def test_every_step_ran(summary: dict) -> None:
    assert [s["name"] for s in summary["steps"]] == STEPS
    assert {s["status"] for s in summary["steps"]} == {"ok"}
    assert all(s["seconds"] > 0 for s in summary["steps"])


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


def test_a_second_run_reuses_what_did_not_change_and_remakes_what_is_gone(
    home: Path, corpus: Path, summary: dict
) -> None:
    for gone in (home / "pipeline").glob("*/export/exported"):
        shutil.rmtree(gone)
    status = {s["name"]: s["status"] for s in run(home, corpus)["steps"]}
    assert status == {s: "ok" if s in NEVER_CACHED | {"export"} else "cached" for s in STEPS}
