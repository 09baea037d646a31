import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.importing.config import Places
from data.importing.places import Access
from data.importing.readers.delimited import DelimitedReader
from data.importing.readers.lines import LinesReader, line_ranges
from data.importing.rows import Cut, Row, Unreadable
from model.errors import DataError

REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def rows(reader: Any, size: int) -> list[Row | Unreadable]:
    return [row for cut in reader.cuts(size) for row in reader.read(Cut.from_json(cut.to_json()))]


def lines_reader(path: Path, row_bytes: int = 1 << 20) -> LinesReader:
    return LinesReader(Access(Places(), str(path.parent)), str(path), row_bytes)


def delimited(path: Path, row_bytes: int = 1 << 20, **options: Any) -> DelimitedReader:
    return DelimitedReader(Access(Places(), str(path.parent)), str(path), row_bytes, **options)


@REUSED
@given(st.lists(st.binary(max_size=12)), st.integers(1, 5))
def test_any_bytes_are_cut_into_lines_without_loss(tmp_path: Path, parts: list[bytes], size: int) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join(parts))
    with path.open("rb") as file:
        ranges = list(line_ranges(file, size))
    whole = path.read_bytes()
    assert b"".join(whole[start:end] for start, end, _, _ in ranges) == whole
    assert sum(count for _, _, count, _ in ranges) == len(whole.split(b"\n")) - (whole[-1:] in (b"\n", b""))
    found = rows(lines_reader(path), size)
    assert found == rows(lines_reader(path), 1000)
    assert len(found) == sum(1 for line in whole.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip())


@REUSED
@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=6)), min_size=1), st.integers(1, 4))
def test_objects_come_back_with_their_numbers(tmp_path: Path, given_rows: list[dict[str, str]], size: int) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given_rows), encoding="utf-8")
    found = rows(lines_reader(path), size)
    assert [row.values for row in found if isinstance(row, Row)] == given_rows
    assert [row.number for row in found] == list(range(len(given_rows)))
    assert [json.loads(row.raw) for row in found] == given_rows


def test_bad_lines_are_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    deep = b"[" * 100_000
    path.write_bytes(b'{"a": 1}\n{"a": \n\n[1]\n\xff\xfe\n' + deep + b"\n" + b"x" * 300_000 + b'\n{"a": 2}')
    found = rows(lines_reader(path, row_bytes=200_000), 3)
    reasons = [(row.number, getattr(row, "reason", "ok")) for row in found]
    assert reasons == [
        (0, "ok"),
        (1, "row_unparsable"),
        (3, "row_unparsable"),
        (4, "row_not_utf8"),
        (5, "row_unparsable"),
        (6, "row_too_long"),
        (7, "ok"),
    ]
    assert found[1].raw == '{"a":'
    assert "\\xff" in found[3].raw


def test_files_of_a_pattern_are_numbered_on(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"n": "{name}"}}\n')
    found = rows(lines_reader(tmp_path / "*.jsonl"), 10)
    assert [(row.number, row.values["n"]) for row in found if isinstance(row, Row)] == [(0, "a"), (1, "b")]


def test_a_change_of_one_byte_changes_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    before = [cut.digest for cut in lines_reader(path).cuts(1)]
    path.write_text('{"a": 1}\n{"a": 3}\n')
    after = [cut.digest for cut in lines_reader(path).cuts(1)]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*no\.jsonl"):
        list(lines_reader(tmp_path / "no.jsonl").cuts(1))


FIELDS = st.lists(st.text(alphabet='ab",\n é', max_size=5), min_size=2, max_size=2)


@REUSED
@given(st.lists(FIELDS, min_size=1), st.integers(1, 4))
def test_csv_as_the_standard_library_writes_it(tmp_path: Path, table: list[list[str]], size: int) -> None:
    path = tmp_path / "x.csv"
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["one", "two"], *table])
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    found = rows(delimited(path), size)
    assert all(isinstance(row, Row) for row in found)
    assert [list(row.values.values()) for row in found if isinstance(row, Row)] == table


@REUSED
@given(st.text(alphabet='ab",\n\r\0é', max_size=80), st.integers(1, 4))
def test_any_text_is_the_same_rows_however_it_is_cut(tmp_path: Path, body: str, size: int) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"one,two\n{body}", encoding="utf-8", newline="")
    assert rows(delimited(path), size) == rows(delimited(path), 1000)
    assert rows(delimited(path, quotes=False), size) == rows(delimited(path, quotes=False), 1000)


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('one,two\na,b\n"c,d\ne,f\ng,h,i\nj,"k\nk"\n')
    found = rows(delimited(path), 2)
    assert [getattr(row, "reason", None) for row in found] == [None, "row_malformed", None, "row_malformed", None]
    assert json.loads(found[1].raw) == {"_extra": '"c,d\n'}
    assert json.loads(found[3].raw) == {"one": "g", "two": "h", "_extra": ["i"]}
    assert found[4] == Row(4, {"one": "j", "two": "k\nk"})


def test_csv_that_is_not_utf8_or_too_long(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"\xef\xbb\xbfone,two\na,\xff\n" + b"x" * 500 + b",y\nc,d\n")
    found = rows(delimited(path, row_bytes=100), 10)
    assert [getattr(row, "reason", None) for row in found] == ["row_not_utf8", "row_too_long", None]
    assert json.loads(found[0].raw) == {"one": "a", "two": "\\xff"}


def test_a_header_is_needed_or_given(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a|a|b\n1|2|3\n")
    with pytest.raises(DataError, match=r"source\.names"):
        rows(delimited(path, delimiter="|"), 1)
    found = rows(delimited(path, delimiter="|", names=("x", "y", "z")), 1)
    assert [row.values["z"] for row in found if isinstance(row, Row)] == ["b", "3"]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("")
    assert rows(delimited(tmp_path / "x.csv"), 1) == []
