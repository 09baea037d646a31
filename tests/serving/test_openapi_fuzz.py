"""Our OpenAPI against our answers, by schemathesis: thousands of requests made from it, every answer held against it.

Where schemathesis is not installed beside the tests, ``OMNIVEC_SCHEMATHESIS`` may name its command in an environment of
its own (``uv venv DIR && uv pip install --python DIR/bin/python schemathesis``; the command is ``DIR/bin/st``).
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from serving.config import RequestLimits, ServingConfig
from serving.host import ModelHost
from tests.serving.conftest import dummy_engine

Live = Callable[[ModelHost], AbstractContextManager[str]]
COMMAND = "OMNIVEC_SCHEMATHESIS"
# A schema cannot say what a picture is, which dimensions a model has, or that base64 has a size: such requests are
# right by the schema and refused for a reason that the answer names.
SCHEMA_ALONE = """
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 400, 404, 409, 413, 415, 422, 429]
"""


@pytest.mark.minutes
@pytest.mark.timeout(1200)
def test_every_answer_is_one_that_the_openapi_tells_of(config: ServingConfig, live: Live, tmp_path: Path) -> None:
    command = os.environ.get(COMMAND) or shutil.which("st")
    if command is None:
        pytest.skip(f"schemathesis is not installed, and {COMMAND} names no command of it")
    (tmp_path / "schemathesis.toml").write_text(SCHEMA_ALONE)
    limits = RequestLimits(items_per_request=8, queue_items=64, body_bytes=300_000)
    host = ModelHost(config.model_copy(update={"limits": limits}), dummy_engine)
    host.open()
    arguments = ["--max-examples=50", "--mode=all", "--phases=examples,coverage,fuzzing", "--seed=1", "--no-color"]
    with live(host) as url:
        found = subprocess.run(
            [command, "run", f"{url}/openapi.json", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1100,
            check=False,
        )
    assert found.returncode == 0, found.stdout[-6000:]
    assert "No issues found" in found.stdout or "generated" in found.stdout
