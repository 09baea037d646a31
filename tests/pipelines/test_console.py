"""What a person sees of kfp.local's output."""

import io
import logging
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipelines.console import CacheListener, StepFilter

TRANSCRIPT = """15:06:49.035 - INFO - Running pipeline: \x1b[95m'toy'\x1b[0m
--------------------------------------------------------------------------------
15:06:49.051 - INFO - Executing task \x1b[96m'a'\x1b[0m
15:06:49.052 - INFO - Streamed logs:

    [KFP Executor 2026-11-23 15:06:49,165 INFO]: Loading KFP component "a" from /tmp/x
    [KFP Executor 2026-11-23 15:06:49,166 INFO]: Got executor_input:
    {
        "inputs": {
            "parameterValues": {"config": "c1"}
        }
    }
    > validate
    {"said": "by the step"}
    [KFP Executor 2026-11-23 15:06:49,167 INFO]: Wrote executor output file to /tmp/x.
BLANK

15:06:49.184 - INFO - Task \x1b[96m'a'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
15:06:49.185 - INFO - Task \x1b[96m'a'\x1b[0m outputs:
    out: Dataset( name='out' )
15:06:49.190 - ERROR - something broke
""".replace("BLANK", "    ")
PASSED = '> validate\n{"said": "by the step"}\nsomething broke\n'


@given(cuts=st.lists(st.integers(0, len(TRANSCRIPT)), max_size=20))
def test_only_the_steps_are_heard_however_the_text_arrives(cuts: list[int]) -> None:
    target = io.StringIO()
    stream = StepFilter(target)
    edges = [0, *sorted(cuts), len(TRANSCRIPT)]
    for start, end in pairwise(edges):
        stream.write(TRANSCRIPT[start:end])
    assert target.getvalue() == PASSED


def test_cache_hits_are_heard() -> None:
    heard: list[tuple[str, str]] = []
    listener = CacheListener(lambda task, key: heard.append((task, key)))
    text = "Task train-2 cache hit (key=0123456789ab); skipping execution."
    for message in (text, "Task train-2 failed"):
        listener.emit(logging.LogRecord("root", logging.INFO, "f", 1, message, None, None))
    assert heard == [("train-2", "0123456789ab")]
