"""A host that is away ends the import, and nothing is refused for it; files that fail are refused, and only those."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from data.engine import EngineConfig
from data.importing.config import ImportConfig, Places
from data.importing.finished import quarantine_file
from data.importing.outage import HELD, IN_A_ROW, Hosts, unanswered
from data.importing.places import Access
from data.importing.refusal import Refused
from data.importing.run import Imported, run_import
from data.importing.steady import UnreachableError
from model.errors import DataError
from tests.conftest import make_png
from tests.data.importing.conftest import IMAGE_MAPPING, Configure, Workers

ROWS = 26
PLACES = {"schemes": ["away"], "hosts": ["bucket", "other"], "retries": 1}


class Away(MemoryFileSystem):
    """Files in memory of hosts that are there for so many openings, and of which some files never open."""

    protocol = "away"
    store: dict[str, Any] = {}  # noqa: RUF012 - as the class above
    pseudo_dirs = [""]  # noqa: RUF012
    left = 1_000_000
    bad: frozenset[int] = frozenset()
    error: Exception = ConnectionResetError(104, "Connection reset by peer")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("away:/"))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "rb":
            number = int(Path(path).stem)
            if number in self.bad:
                raise self.error
            if "other" not in path:
                if self.left <= 0:
                    raise self.error
                self.left -= 1
        return super()._open(path, mode, **options)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    fsspec.register_implementation("away", Away, clobber=True)
    monkeypatch.setattr("data.importing.steady.FIRST_PAUSE", 0)
    system = fsspec.filesystem("away")
    system.store.clear()
    system.left, system.bad = 1_000_000, frozenset()
    for number in range(ROWS):
        for host in ("bucket", "other"):
            system.pipe_file(f"/{host}/{number}.png", make_png(number, 8, 8))
    return system


@pytest.fixture
def go(tmp_path: Path, configure: Configure, workers: Workers) -> Callable[..., Imported]:
    """Import all files of a host, in pieces of so many rows."""

    def run(output: str, *, rows: int = 7, hosts: tuple[str, ...] = ("bucket",)) -> Imported:
        lines = [{"q": f"{n}", "image": f"away://{hosts[n % len(hosts)]}/{n}.png"} for n in range(ROWS)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        source = {"kind": "jsonl", "path": "rows.jsonl"}
        config = configure(source, mapping=IMAGE_MAPPING, places=PLACES, sizes={"piece_rows": rows})
        return run_import(config, home=tmp_path, output=tmp_path / output, engine=EngineConfig(workers=1))

    return run


def refused(output: Path) -> list[int]:
    path = quarantine_file(output, "mine")
    return pq.read_table(path)["row"].to_pylist() if path.is_file() else []


LONG = pytest.mark.minutes


@pytest.mark.parametrize(
    ("until", "rows"),
    [
        pytest.param(0, 7, id="never there", marks=LONG),
        pytest.param(0, 2, id="never there, in pieces of two"),
        pytest.param(3, 7, id="within a piece"),
        pytest.param(7, 7, id="between pieces", marks=LONG),
        pytest.param(20, 7, id="late", marks=LONG),
        pytest.param(ROWS - 1, 7, id="at the last row"),
        pytest.param(6, 100, id="in one piece", marks=LONG),
    ],
)
def test_an_outage_ends_the_import_and_later_it_goes_on_as_if_nothing_had_been(
    away: Away, go: Callable[..., Imported], tmp_path: Path, until: int, rows: int
) -> None:
    undisturbed = go("undisturbed", rows=rows).report
    away.left = until
    with pytest.raises(DataError, match=r"No row is refused for that: once it can be.*, the same command goes on"):
        go("out", rows=rows)
    assert not (tmp_path / "out" / "import.json").exists()
    away.left = 1_000_000
    found = go("out", rows=rows).report
    assert found["digest"] == undisturbed["digest"]
    assert (found["records"], found["quarantined"]) == (ROWS, 0)
    assert not refused(tmp_path / "out")


@pytest.mark.parametrize("bad", [{0, 3, 4, 5, 20, ROWS - 1}, set(range(4, 4 + IN_A_ROW + 3))])
def test_files_that_fail_are_refused_and_only_those(
    away: Away, go: Callable[..., Imported], tmp_path: Path, bad: set[int]
) -> None:
    """Scattered, at either end, or more in a row than an outage takes to be seen, as a file of before is there."""
    away.bad = frozenset(bad)
    assert go("out").report["reasons"] == {"fetch_failed": len(bad)}
    assert refused(tmp_path / "out") == sorted(bad)


def test_a_host_that_is_away_is_seen_between_rows_of_others(
    away: Away, go: Callable[..., Imported], tmp_path: Path
) -> None:
    away.left = 8
    with pytest.raises(DataError, match="away://bucket/"):
        go("out", hosts=("bucket", "other"))


def test_a_dead_host_of_few_rows_does_not_end_an_import(
    away: Away, go: Callable[..., Imported], tmp_path: Path
) -> None:
    """There is nothing of it that was ever read; were there more of its rows, it would be told."""
    away.left = 0
    hosts = ("bucket", *["other"] * 3)  # 7 rows of the first
    assert go("out", rows=5, hosts=hosts).report["reasons"] == {"fetch_failed": 7}
    assert refused(tmp_path / "out") == list(range(0, ROWS, 4))


def test_answers_and_silence(away: Away) -> None:
    class AnswerError(Exception):
        def __init__(self, status: int) -> None:
            self.status = status

    assert all(
        unanswered(e) for e in (AnswerError(503), AnswerError(429), AnswerError(408), TimeoutError(), ConnectionError())
    )
    assert not any(
        unanswered(e) for e in (AnswerError(403), AnswerError(410), FileNotFoundError(), Refused("x", "a redirect"))
    )
    hosts = Hosts(pytest.fail)
    for number in range(3 * IN_A_ROW):  # it is there, and gives nothing to us
        hosts.failed(f"https://a/{number}", AnswerError(403))
    assert hosts.settle()
    for number in range(IN_A_ROW - 1):
        hosts.failed(f"https://a/{number}", AnswerError(503))
    assert not hosts.settle()
    with pytest.raises(UnreachableError, match=rf"a did not give any of {IN_A_ROW} files.*take a out of places\.hosts"):
        hosts.failed("https://a/x", AnswerError(503))
    for number in range(HELD + 5):  # not more than so many are held
        hosts.gave(f"https://host{number}/x")
    assert len(hosts._hosts) == HELD


class Handler(BaseHTTPRequestHandler):
    away = False

    def do_GET(self) -> None:
        self.send_response(503 if self.away else 403 if self.path == "/secret" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


def test_over_http(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    access = Access(Places(schemes=("http",), hosts=("127.0.0.1",), retries=0), str(tmp_path))
    at = f"http://127.0.0.1:{server.server_port}"
    try:
        assert access.read(f"{at}/a", 10) == b"ok"
        for _ in range(IN_A_ROW + 1):
            with pytest.raises(Refused, match="403"):
                access.read(f"{at}/secret", 10)
        assert access.hosts.settle()
        Handler.away = True
        for number in range(IN_A_ROW - 2):
            with pytest.raises(Refused, match="503"):
                access.read(f"{at}/{number}", 10)
        with pytest.raises(UnreachableError, match=f"{at}/a, which was read before, cannot be read any more"):
            access.hosts.settle()
        Handler.away = False
        assert access.hosts.settle()
    finally:
        Handler.away = False
        server.shutdown()
        server.server_close()


def test_a_file_system_that_is_not_installed_is_no_fault_of_the_rows(tmp_path: Path) -> None:
    access = Access(Places(schemes=("nosuch",), hosts=("a",)), str(tmp_path))
    with pytest.raises(DataError, match="install the file system"):
        access.read("nosuch://a/x", 10)


def test_an_import_config_is_the_same_as_before(configure: Configure) -> None:
    """Nothing was added to it: an import that was begun before goes on."""
    config: ImportConfig = configure({"kind": "jsonl", "path": "rows.jsonl"})
    assert set(Places.model_fields) == {"base", "roots", "schemes", "hosts", "seconds", "retries"}
    assert config.places == Places()
