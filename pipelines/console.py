"""Console of a local run: kfp.local's own chatter is dropped, what the steps say is passed on."""

import io
import logging
import re
from collections.abc import Callable
from typing import TextIO

STAMP = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} - (?P<level>[A-Z]+) - (?P<text>.*)$")
COLOUR = re.compile(r"\x1b\[\d+m")
CACHED = re.compile(r"^Task (?P<task>\S+) cache hit \(key=(?P<key>[0-9a-f]+)\)")
EXECUTOR = "[KFP Executor"
DUMP = "Got executor_input:"
INDENT = "    "


class StepFilter(io.TextIOBase):
    """A text stream that passes on only lines that step processes wrote.

    kfp.local 2.17 prints, per task: a stamped line ``Executing task``, a stamped line ``Streamed logs:``, the child's
    lines indented by four (with the executor's own lines and a JSON dump of its input among them), then stamped lines
    with the outcome. Only the child's lines are passed on, and anything stamped WARNING or worse.
    """

    def __init__(self, target: TextIO) -> None:
        self.target = target
        self._partial = ""
        self._streaming = False
        self._dumping = False

    def writable(self) -> bool:
        """The stream takes text."""
        return True

    def write(self, text: str) -> int:
        """Take any piece of text; complete lines are judged one by one."""
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            passed = self._judge(COLOUR.sub("", line))
            if passed is not None:
                self.target.write(f"{passed}\n")
                self.target.flush()
        return len(text)

    def flush(self) -> None:
        """Flush what was passed on."""
        self.target.flush()

    def isatty(self) -> bool:
        """Never a terminal: kfp must not draw on it."""
        return False

    def _judge(self, line: str) -> str | None:
        stamped = STAMP.match(line)
        if stamped:
            self._streaming = stamped["text"].startswith("Streamed logs")
            return stamped["text"] if stamped["level"] in {"WARNING", "ERROR", "CRITICAL"} else None
        if not self._streaming:
            return None
        said = line.removeprefix(INDENT)
        if self._dumping:
            self._dumping = said != "}"
            return None
        if said.startswith(EXECUTOR):
            self._dumping = DUMP in said
            return None
        return said or None


class CacheListener(logging.Handler):
    """Calls back with task and start of the cache key when kfp.local logs that it took a task from its cache."""

    def __init__(self, on_cached: Callable[[str, str], None]) -> None:
        super().__init__(logging.INFO)
        self.on_cached = on_cached

    def emit(self, record: logging.LogRecord) -> None:
        """Look for a cache hit in one log record."""
        hit = CACHED.match(record.getMessage())
        if hit:
            self.on_cached(hit["task"], hit["key"])
