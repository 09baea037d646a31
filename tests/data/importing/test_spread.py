"""The same import killed at random, on other numbers of workers, and on a cluster: always the same bytes."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_png

pytestmark = [pytest.mark.minutes, pytest.mark.timeout(900)]

KILLS = 5
CONFIG: dict[str, Any] = {
    "name": "mine",
    "source": {"kind": "jsonl", "path": "rows.jsonl"},
    "mapping": {
        "query": [{"modality": "text", "column": "q"}],
        "positives": [[{"modality": "image", "column": "image"}]],
        "task": "text_to_image",
        "languages": ["en"],
        "license": "CC0-1.0",
        "id": {"column": "id"},
    },
    "sizes": {"piece_rows": 40, "shard_bytes": 100_000},
}
LOCAL = """
import json, sys
from pathlib import Path
from data.engine import EngineConfig
from data.importing.config import ImportConfig
from data.importing.run import run_import
home, output, workers, quarantine = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), None
config = ImportConfig.parse(json.loads((home / "config.json").read_text()))
print(run_import(config, home=home, output=output, engine=EngineConfig(workers=workers)).report["digest"])
"""
CLUSTER = """
import json, os, sys
from pathlib import Path
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
from data.engine import EngineConfig
from data.importing.config import ImportConfig
from data.importing.run import run_import
home, output = Path(sys.argv[1]), Path(sys.argv[2])
config = ImportConfig.parse(json.loads((home / "config.json").read_text()))
engine = EngineConfig(runner="ray", address=cluster.address, workers=2)
report = run_import(config, home=home, output=output, engine=engine).report
import ray
print(len({node["NodeID"] for node in ray.nodes()}), report["digest"])
ray.shutdown()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """800 rows with 100 pictures: some broken, some with an id twice."""
    folder = tmp_path_factory.mktemp("source")
    for i in range(100):
        data = make_png(i)
        (folder / f"{i}.png").write_bytes(data[:200] if i % 25 == 7 else data)
    rows = [
        {"q": f"picture {i}" if i % 90 else "", "image": f"{i * 7 % 101}.png", "id": i if i % 111 else 5}
        for i in range(800)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What an import that nobody disturbs, on one worker, leaves."""
    output = tmp_path_factory.mktemp("whole") / "out"
    process = begin(LOCAL, home, output, 1)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    report = json.loads((output / "import.json").read_text())["sources"]["mine"]
    assert report["digest"] == said.split()[-1]
    assert report["quarantined"] > 20
    assert report["reasons"].keys() == {"column_empty", "duplicate_id", "image_truncated", "path_missing"}
    return left(output)


def begin(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def left(output: Path) -> str:
    """Digest of everything that an import left, but for the seconds in its report."""
    total = hashlib.sha256()
    for path in sorted(path for path in output.rglob("*") if path.is_file()):
        if path.name == "import.json" or ".import" in path.parts:  # seconds, and times of the source's files
            continue
        total.update(f"{path.relative_to(output)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def test_killed_at_random_and_begun_again(home: Path, whole: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    pieces = output / ".import" / "mine" / "pieces"
    moments = random.Random(0)
    seen = []
    for _ in range(KILLS):
        process = begin(LOCAL, home, output, 2)
        before = len(list(pieces.glob("*")))
        deadline = time.monotonic() + 120
        # At random after a piece has been done, so that it is not start-up that is killed.
        while len(list(pieces.glob("*"))) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)  # its workers are left to find out by themselves
        process.communicate()
        seen.append(len(list(pieces.glob("*"))))
        if not pieces.exists():
            break
    assert any(0 < count < 20 for count in seen), seen
    process = begin(LOCAL, home, output, 2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert left(output) == whole


def test_media_that_change_while_it_is_down(home: Path, tmp_path: Path) -> None:
    """Killed, media changed, begun again, killed again, ... always what a fresh import of the last state leaves."""
    own, output = tmp_path / "home", tmp_path / "out"
    shutil.copytree(home, own)
    pieces = output / ".import" / "mine" / "pieces"
    moments = random.Random(1)
    changes = [
        lambda: (own / "3.png").write_bytes(make_png(500)),
        lambda: os.utime(own / "4.png", ns=(10**18, 10**18)),
        lambda: (own / "5.png").unlink(),
        lambda: (own / "7.png").write_bytes(make_png(7)),
    ]
    for change in changes:
        process = begin(LOCAL, own, output, 2)
        before, deadline = len(list(pieces.glob("*"))), time.monotonic() + 120
        while len(list(pieces.glob("*"))) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        change()
    for _ in range(2):  # the second time finds all of it done
        process = begin(LOCAL, own, output, 2)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    process = begin(LOCAL, own, tmp_path / "fresh", 2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert left(output) == left(tmp_path / "fresh")


def test_two_workers(home: Path, whole: str, tmp_path: Path) -> None:
    process = begin(LOCAL, home, tmp_path / "out", 2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert left(tmp_path / "out") == whole


def test_two_nodes_of_ray(home: Path, whole: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    process = begin(CLUSTER, home, tmp_path / "out")
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert said.split()[-2] == "2"
    assert left(tmp_path / "out") == whole
