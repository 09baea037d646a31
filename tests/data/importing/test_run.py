"""Whole imports in process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.engine import EngineConfig
from data.importing.run import Imported, run_import
from data.importing.state import own_shards
from data.shards import read_records
from model.errors import ConfigError, DataError
from model.integrity import file_digest
from tests.conftest import make_png
from tests.data.importing.conftest import IMAGE_MAPPING, TEXT_MAPPING, Configure, Workers

SOURCE = {"kind": "jsonl", "path": "rows.jsonl"}
Run = Callable[..., Imported]


@pytest.fixture
def run_in_processes(tmp_path: Path) -> Run:
    """Runs an import as users do."""

    def go(config: Any, output: str = "out", **options: Any) -> Imported:
        return run_import(config, home=tmp_path, output=tmp_path / output, engine=EngineConfig(workers=1), **options)

    return go


@pytest.fixture
def run(run_in_processes: Run, workers: Workers) -> Run:
    """Runs an import, its pieces in this process."""
    del workers
    return run_in_processes


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_an_import_its_repetition_and_its_quarantine(
    tmp_path: Path, configure: Configure, run_in_processes: Run, write_lines: Callable[..., Path]
) -> None:
    run = run_in_processes
    (tmp_path / "a.png").write_bytes(make_png(1))
    rows = [
        {"q": "one", "image": "a.png", "id": "x"},
        {"q": "two", "image": "later.png", "id": "y"},
        {"q": "three", "image": "a.png", "id": "x"},
        {"q": "", "image": "a.png", "id": "z"},
        {"q": "five", "image": "a.png", "id": "w"},
    ]
    write_lines(rows)
    config = configure(SOURCE, mapping={**IMAGE_MAPPING, "id": {"column": "id"}}, sizes={"piece_rows": 2})
    out = tmp_path / "out"
    done = run(config).report
    assert (done["rows"], done["records"], done["quarantined"]) == (5, 2, 3)
    assert done["reasons"] == {"column_empty": 1, "duplicate_id": 1, "path_missing": 1}
    assert {path.name: file_digest(path) for path in out.glob("*.parquet")} == done["shards"]
    assert [row["row"] for row in rows_of(out / "quarantine" / "rows-mine.parquet")] == [1, 2, 3]
    assert sorted(path.name for path in out.iterdir()) == [
        "import.json",
        "mine-00000.parquet",
        "mine-00001.parquet",
        "probes",
        "quarantine",
    ]

    again = run(config)
    assert again.before
    assert again.report == done

    # One is mended on disk, one in the quarantine; the third stays.
    (tmp_path / "later.png").write_bytes(make_png(2))
    path = out / "quarantine" / "rows-mine.parquet"
    table = rows_of(path)
    table[2]["raw"] = json.dumps({**rows[3], "q": "four"})
    pq.write_table(type(pq.read_table(path)).from_pylist(table, pq.read_schema(path)), path)
    mended = run(config, quarantine=out / "quarantine").report
    assert (mended["rows"], mended["records"], mended["quarantined"]) == (5, 4, 1)
    assert mended["reasons"] == {"duplicate_id": 1}
    ids = [record.id for shard in own_shards(out, "mine") for record in read_records(shard)]
    assert sorted(ids) == ["mine/w", "mine/x", "mine/y", "mine/z"]
    assert done["shards"].items() <= mended["shards"].items()
    assert rows_of(path)[0]["reasons"] == ["duplicate_id"]


def test_a_quarantine_may_go_elsewhere(
    tmp_path: Path, configure: Configure, run: Run, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": "a", "p": "x" * 50}, {"q": "b", "p": "y"}])
    run(configure(SOURCE, sizes={"text_chars": 10}))
    done = run(configure(SOURCE), "elsewhere", quarantine=tmp_path / "out").report
    assert (done["rows"], done["records"], done["quarantined"]) == (1, 1, 0)
    with pytest.raises(DataError, match=r"rows-mine\.parquet"):
        run(configure(SOURCE), "elsewhere", quarantine=tmp_path / "elsewhere")


def test_sources_share_a_corpus(
    tmp_path: Path, configure: Configure, run: Run, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": "a", "p": "b"}])
    run(configure(SOURCE))
    run(configure(SOURCE, name="mine-too"))
    report = json.loads((tmp_path / "out" / "import.json").read_text())
    assert report["sources"].keys() == {"mine", "mine-too"}
    assert len(own_shards(tmp_path / "out", "mine")) == 1


def test_another_configuration_needs_fresh(
    tmp_path: Path, configure: Configure, run: Run, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": f"{i}", "p": "b"} for i in range(4)])
    run(configure(SOURCE, sizes={"piece_rows": 1}))
    with pytest.raises(DataError, match="--fresh"):
        run(configure(SOURCE))
    done = run(configure(SOURCE), fresh=True).report
    assert done["shards"].keys() == {"mine-00000.parquet"}
    assert [path.name for path in (tmp_path / "out").glob("*.parquet")] == ["mine-00000.parquet"]
    assert [path.name for path in (tmp_path / "out" / "probes").iterdir()] == ["mine-00000.parquet"]
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "mine-00000.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="something else"):
        run(configure(SOURCE), "foreign")


def test_an_interrupted_import_goes_on_only_with_the_same(
    tmp_path: Path, configure: Configure, run: Run, write_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines([{"q": f"{i}", "p": "b"} for i in range(4)])
    config = configure(SOURCE, sizes={"piece_rows": 2})

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("data.importing.run.prepare", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    assert not (tmp_path / "out" / "import.json").exists()
    with pytest.raises(DataError, match="since then the config changed"):
        run(configure(SOURCE, sizes={"piece_rows": 2, "level": 5}))
    text = path.read_text()
    path.write_text(text.replace('"3"', '"7"'))
    with pytest.raises(DataError, match="since then the source changed"):
        run(config)
    path.write_text(text)
    assert run(config).report["records"] == 4
    assert not (tmp_path / "out" / ".import").exists()


@pytest.mark.parametrize("step", range(4))
def test_the_last_step_may_be_interrupted_anywhere(
    tmp_path: Path,
    configure: Configure,
    run: Run,
    write_lines: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    write_lines([{"q": f"{i}" if i else "", "p": "b"} for i in range(4)])
    config = configure(SOURCE, sizes={"piece_rows": 2})
    moved = [0]
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if ".import" in self.parts and Path(target).parent.name in ("out", "probes", "quarantine"):
            if moved[0] == step:
                raise KeyboardInterrupt
            moved[0] += 1
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    done = run(config).report
    assert {path.name: file_digest(path) for path in (tmp_path / "out").glob("*.parquet")} == done["shards"]
    assert len(rows_of(tmp_path / "out" / "quarantine" / "rows-mine.parquet")) == done["quarantined"] == 1
    assert not (tmp_path / "out" / ".import").exists()


def test_a_column_that_no_row_has_is_found_at_once(
    configure: Configure, run: Run, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": "a", "text": "b"}])
    with pytest.raises(ConfigError, match="'p', which none of the first 1 rows has; their columns are q, text"):
        run(configure(SOURCE))


def test_an_empty_source_and_a_lock(
    tmp_path: Path, configure: Configure, run: Run, write_lines: Callable[..., Path]
) -> None:
    from data.importing.state import only_one

    write_lines([])
    with pytest.raises(DataError, match="no rows"):
        run(configure(SOURCE))
    with only_one(tmp_path / "out"), pytest.raises(DataError, match="another process"):
        run(configure(SOURCE))


def test_the_command(tmp_path: Path, write_lines: Callable[..., Path]) -> None:
    import yaml
    from typer.testing import CliRunner

    from pipelines.cli import app

    write_lines([{"q": "a", "p": "b"}, {"q": "", "p": "b"}])
    config = {"name": "mine", "source": SOURCE, "mapping": {**TEXT_MAPPING, "license": "MIT"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    arguments = ["data", "import", str(tmp_path / "mine.yaml"), "-o", str(tmp_path / "out"), "--workers", "1"]
    done = CliRunner().invoke(app, [*arguments, "--set", "mapping.license=CC0-1.0"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "records" in done.output
    assert "column_empty" in done.output
    (record,) = read_records(tmp_path / "out" / "mine-00000.parquet")
    assert record.license == "CC0-1.0"
