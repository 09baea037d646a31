import os
import subprocess
import sys

import pytest

from data.engine import EngineConfig
from model.errors import ConfigError


def run(code: str) -> str:
    """The output of a process of its own: a process has one runner for its whole life."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_telemetry_is_off_before_daft_is_imported() -> None:
    code = """
import os, sys
os.environ.pop("DO_NOT_TRACK", None)
import data.engine
assert "daft" not in sys.modules
data.engine.start()
data.engine.start()
import daft
print(os.environ["DO_NOT_TRACK"], daft.from_pydict({"a": [1, 2]}).sum("a").to_pydict())
"""
    assert run(code).strip() == "1 {'a': [3]}"


def test_a_process_has_one_runner() -> None:
    code = """
import data.engine as e
from model.errors import ConfigError
e.start(e.EngineConfig(workers=1))
try:
    e.start(e.EngineConfig(runner="ray"))
except ConfigError as error:
    print(error)
"""
    assert "use a new process" in run(code)


@pytest.mark.parametrize(("waits", "said"), [(True, "done\n"), (False, "")])
def test_the_exit_waits_for_threads_at_work(waits: bool, said: str) -> None:
    code = f"""
import atexit, threading, time
import data.engine
def work(end=time.monotonic() + 0.4):
    while time.monotonic() < end:
        pass
    print("done", flush=True)
threading.Thread(target=work, daemon=True).start()
if {waits}:
    atexit.register(data.engine._wait_until_idle)
"""
    assert run(code) == said


def test_an_address_needs_ray() -> None:
    with pytest.raises(ConfigError, match="set runner to ray"):
        EngineConfig.parse({"address": "auto"})
    with pytest.raises(ConfigError, match="workers"):
        EngineConfig.parse({"workers": 0})


def test_workers_default_to_the_cores() -> None:
    assert EngineConfig().processes == len(os.sched_getaffinity(0))
    assert EngineConfig(workers=3).processes == 3
