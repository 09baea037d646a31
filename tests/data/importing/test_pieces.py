"""Pieces and workers, without Daft around them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.importing.config import ImportConfig
from data.importing.pieces import IDS, ROWS, Summary, part_path, piece_directory
from data.importing.readers.open import open_source
from data.importing.work import PLAN, Job, PieceWorker
from data.probe_store import read_probes
from data.shards import read_media, read_records
from data.splits import split_of
from model.errors import DataError
from tests.conftest import make_ogg, make_png
from tests.data.importing.conftest import IMAGE_MAPPING, TEXT_MAPPING, Configure


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., tuple[PieceWorker, list[dict[str, Any]]]]:
    """A worker and its items, as a run would make them."""

    def make(
        config: ImportConfig, *, ids: bool = False, name: str = "work"
    ) -> tuple[PieceWorker, list[dict[str, Any]]]:
        place = tmp_path / name
        place.mkdir()
        job = Job(config=config, home=tmp_path, work=place, ids=ids)
        reader, _ = open_source(config, home=tmp_path, work=place)
        items = []
        with (place / PLAN).open("wb") as plan:
            for number, cut in enumerate(reader.cuts(config.piece_rows)):
                items.append({"number": number, "at": plan.tell(), "rows": cut.rows})
                plan.write(cut.to_json().encode() + b"\n")
        return PieceWorker(job.model_dump_json()), items

    return make


def do(worker: PieceWorker, items: list[dict[str, Any]]) -> list[Summary]:
    found = [json.loads(worker(json.dumps(item))) for item in items]
    assert all("summary" in one for one in found), found
    return [Summary(**one["summary"]) for one in found]


def refused(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path / ROWS).to_pylist() if (path / ROWS).is_file() else []


def test_a_piece_is_shards_probes_and_refused_rows(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    (tmp_path / "a.png").write_bytes(make_png(1))
    (tmp_path / "cut.png").write_bytes(make_png(2)[:300])
    (tmp_path / "sound.png").write_bytes(make_ogg())
    (tmp_path / "none.png").write_bytes(b"")
    names = ["a.png", "cut.png", "sound.png", "none.png", "no.png", "a.png"]
    write_lines([{"q": f"picture {i}", "image": name} for i, name in enumerate(names)])
    worker, items = work(configure({"kind": "jsonl", "path": "rows.jsonl"}, mapping=IMAGE_MAPPING))
    (found,) = do(worker, items)
    assert (found.rows, found.records, found.refused, found.media) == (6, 2, 4, 1)
    folder = piece_directory(tmp_path / "work", 0)
    first, second = read_records(part_path(folder, 0))
    assert first.group == second.group  # of the content of the positive
    assert first.split == split_of(first.group)
    assert first.id != second.id
    assert first.source == "mine"
    assert next(iter(read_media(part_path(folder, 0)).values()))[1] == make_png(1)
    assert [(row["row"], row["reasons"]) for row in refused(folder)] == [
        (1, ["image_truncated"]),
        (2, ["image_unsupported"]),
        (3, ["media_empty"]),
        (4, ["path_missing"]),
    ]
    (probes,) = read_probes(folder, limits=worker.job.config.limits)
    assert [probe.width for probe in probes.probes()] == [48]
    assert not list((tmp_path / "work" / "attempts").iterdir())


def test_a_large_medium_is_refused_by_size(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    (tmp_path / "a.png").write_bytes(make_png(1))
    write_lines([{"q": "x", "image": "a.png"}])
    limits = {"max_media_bytes": 100}
    worker, items = work(configure({"kind": "jsonl", "path": "rows.jsonl"}, mapping=IMAGE_MAPPING, limits=limits))
    do(worker, items)
    assert refused(piece_directory(tmp_path / "work", 0))[0]["reasons"] == ["image_too_large"]


def test_shards_of_a_piece_are_bounded(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(make_png(i))
    write_lines([{"q": f"{i}", "image": f"{i}.png"} for i in range(6)])
    size = len(make_png(0))
    config = configure(
        {"kind": "jsonl", "path": "rows.jsonl"}, mapping=IMAGE_MAPPING, sizes={"shard_bytes": size * 5 // 2}
    )
    worker, items = work(config)
    (found,) = do(worker, items)
    assert [part["records"] for part in found.parts] == [2, 2, 2]
    ids = [record.id for n in range(3) for record in read_records(part_path(piece_directory(worker.job.work, 0), n))]
    assert len(set(ids)) == 6


def test_one_medium_of_two_kinds_is_refused(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (40, 40), (i * 60, 0, 0)) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    mapping = {
        **TEXT_MAPPING,
        "positives": [
            [{"modality": "image", "column": "image", "optional": True}],
            [{"modality": "video", "column": "video", "optional": True}],
        ],
    }
    write_lines([{"q": "a", "image": "a.gif"}, {"q": "b", "video": "a.gif"}, {"q": "c", "image": "a.gif"}])
    worker, items = work(configure({"kind": "jsonl", "path": "rows.jsonl"}, mapping=mapping))
    (found,) = do(worker, items)
    assert found.records == 2
    assert found.reasons == {"media_of_two_modalities": 1}


def test_a_piece_is_the_same_whoever_does_it_and_however_often(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": f"a {i}", "p": "b"} for i in range(50)])
    config = configure({"kind": "jsonl", "path": "rows.jsonl"}, sizes={"piece_rows": 20})
    first, items = work(config, name="one")
    second, _ = work(config, name="two")
    one, two = do(first, items), do(second, items[::-1])[::-1]
    assert one == two
    assert do(first, items) == one  # done already


def test_ids_of_a_column_are_noted_and_amended(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(make_png(i))
    rows = [{"q": f"{i}", "image": f"{i % 3}.png", "id": i} for i in range(5)]
    rows[1]["q"] = ""
    write_lines(rows)
    mapping = {**IMAGE_MAPPING, "id": {"column": "id"}}
    worker, items = work(configure({"kind": "jsonl", "path": "rows.jsonl"}, mapping=mapping), ids=True)
    do(worker, items)
    folder = piece_directory(tmp_path / "work", 0)
    noted = pq.read_table(folder / IDS).to_pylist()
    assert [(row["row"], row["place"]) for row in noted] == [(0, 0), (2, 1), (3, 2), (4, 3)]
    (after,) = do(worker, [{**items[0], "drops": [[2, 0, 1]]}])
    assert (after.rows, after.records, after.refused) == (5, 3, 2)
    assert after.reasons == {"column_empty": 1, "duplicate_id": 1}
    amended = tmp_path / "work" / "amended" / folder.name
    assert [record.id for record in read_records(part_path(amended, 0))] == ["mine/0", "mine/3", "mine/4"]
    assert len(read_media(part_path(amended, 0))) == 2  # one was of the dropped row only
    (probes,) = read_probes(amended)
    assert probes.media.num_rows == 2
    assert [(row["row"], row["reasons"][0]) for row in refused(amended)] == [(1, "column_empty"), (2, "duplicate_id")]
    assert json.loads(refused(amended)[1]["raw"]) == rows[2]


def test_a_piece_without_records_has_no_shard(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": "", "p": "b"}])
    worker, items = work(configure({"kind": "jsonl", "path": "rows.jsonl"}))
    (found,) = do(worker, items)
    assert found.parts == []
    assert [p.name for p in piece_directory(worker.job.work, 0).iterdir() if p.suffix == ".parquet"] == [ROWS]


def test_counts_that_do_not_add_up_are_an_error() -> None:
    with pytest.raises(DataError, match="3 rows became 1 records and 1 refused"):
        Summary(rows=3, records=1, refused=1).check("7")


def test_an_error_comes_back_as_its_message(
    tmp_path: Path, configure: Configure, work: Any, write_lines: Callable[..., Path]
) -> None:
    write_lines([{"q": "a", "p": "b"}])
    worker, items = work(configure({"kind": "jsonl", "path": "rows.jsonl"}))
    (tmp_path / "rows.jsonl").unlink()
    assert "rows.jsonl" in json.loads(worker(json.dumps(items[0])))["error"]
