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

import numpy as np
import pytest

from model.quantize import Quantizer
from serving.config import RequestLimits, ServingConfig
from serving.dummy import DummyEncoder
from serving.engine import Engine
from serving.host import ModelHost
from tests.serving.conftest import SPACE
from tests.serving.test_keys import write

Live = Callable[[ModelHost], AbstractContextManager[str]]
COMMAND = "OMNIVEC_SCHEMATHESIS"
# No check is left out. What a right answer to a request that fits the document may be beside 2xx:
#   413: how many bytes base64 has decoded, and how many tokens a text, no schema can say
#   415, 422: what a medium is, and whether it can be decoded, is judged by its bytes
#   504: a caller may give a time that is too short
# And of one that does not fit, beside 400: 404 another model, 409 another vector space, 413 too many items, 415 a kind
# of medium that is not listed, 504 again. 401 belongs to the check that the key is needed.
SETTINGS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 504]
positive_data_acceptance.expected-statuses = ["2xx", 413, 415, 422, 504]
negative_data_rejection.expected-statuses = [400, 401, 404, 409, 413, 415, 504]
"""


def calibrated_engine(_: ServingConfig) -> Engine:
    """An engine that makes codes of every dimension, as exported models do of theirs."""
    ranges = {size: np.stack([np.full(size, -0.5), np.ones(size)]) for size in range(2, 9)}
    return Engine(DummyEncoder(), vector_space=SPACE, quantizer=Quantizer(ranges))


@pytest.mark.minutes
@pytest.mark.timeout(1200)
def test_every_answer_is_one_that_the_openapi_tells_of(config: ServingConfig, live: Live, tmp_path: Path) -> None:
    command = os.environ.get(COMMAND) or shutil.which("st")
    if command is None:
        pytest.skip(f"schemathesis is not installed, and {COMMAND} names no command of it")
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    gallery = tmp_path / "gallery.json"
    gallery.write_text('{"vector_space": "s", "corpus": "c", "items": []}')
    keys = tmp_path / "keys.json"
    key = write(keys, fuzz={})["fuzz"]
    limits = RequestLimits(items_per_request=8, queue_items=64, body_bytes=300_000)
    changes = {"limits": limits, "gallery": gallery, "keys": keys, "aliases": ("text-embedding-3-small",)}
    host = ModelHost(config.model_copy(update=changes), calibrated_engine)
    host.open()
    arguments = ["--max-examples=50", "--mode=all", "--phases=examples,coverage,fuzzing", "--seed=1", "--no-color"]
    with live(host) as url:
        found = subprocess.run(
            [command, "run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {key}", "--checks=all", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1100,
            check=False,
        )
    (tmp_path / "out.log").write_text(found.stdout + found.stderr)
    assert found.returncode == 0, found.stdout[-6000:]
    assert "No issues found" in found.stdout
    assert "Missing test data" not in found.stdout, "no operation is out of reach"
