"""The audit step: outputs, facts, report, and stopping."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.audit.config import AuditConfig
from components.audit.run import run
from components.audit.track import track
from components.lineage import data_identity
from data.records import PartRef, Record
from data.shards import read_records, write_shard
from model.content import Modality, media_digest
from model.errors import ConfigError, DataError
from tests.data.audit.planting import document, drawing, encoded, melody, sentence, sound

WIDE = {"maximum_changed_share": 1.0}


def build(directory: Path, *, documents: bool = False) -> Path:
    """A leak of each of three kinds (or four), and four records that share nothing."""
    media: dict[str, tuple[Modality, bytes]] = {}

    def part(modality: str, data: bytes | str) -> PartRef:
        if isinstance(data, str):
            return PartRef(Modality.TEXT, text=data)
        media[media_digest(data)] = (Modality(modality), data)
        return PartRef(Modality(modality), media=media_digest(data))

    again = {
        "image": (encoded(drawing(1)), encoded(drawing(1), "JPEG", quality=70)),
        "audio": (sound(melody(1)), sound(melody(1) * 0.5)),
        "text": (sentence(1), sentence(1).replace(sentence(1).split()[5], "xylophone", 1)),
    }
    if documents:  # each is drawn by a process of its own, which takes long
        again["document"] = (document(1), document(1) + b"\n")
    records = []
    for kind, sides in again.items():
        for split, data in zip(("test", "train"), sides, strict=True):
            query = (PartRef(Modality.TEXT, text=f"{kind} <{split}>"),)
            name = f"{kind} {split}"
            records.append(
                Record(name, "task", query, ((part(kind, data),),), (), "corpus", ("en",), "MIT", name, split)  # type: ignore[arg-type]
            )
    for seed in range(4):
        query = (PartRef(Modality.TEXT, text=sentence(30 + seed)),)
        positive = ((part("image", encoded(drawing(30 + seed))),),)
        records.append(
            Record(f"own {seed}", "task", query, positive, (), "corpus", ("de",), "MIT", f"own {seed}", "train")
        )
    directory.mkdir(parents=True)
    write_shard(directory / "corpus.parquet", records, media)
    return directory


def audited(corpus: Path, home: Path, **values: object) -> tuple[dict[str, float], dict[str, Path]]:
    paths = {name: home / name for name in ("audited", "quarantine", "pairs")} | {"report": home / "report.html"}
    return run(AuditConfig.parse({**WIDE, **values}), dataset=corpus, **paths), paths


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_outputs_facts_and_report(tmp_path: Path) -> None:
    scalars, paths = audited(build(tmp_path / "corpus", documents=True), tmp_path)
    assert scalars == {"rows": 8, "quarantined": 4, "moved": 0, "leaks": 4, "duplicates": 0, "not_compared": 0}
    kept = {r.id for r in read_records(paths["audited"] / "corpus.parquet")}
    aside = {r.id for r in read_records(paths["quarantine"] / "corpus.parquet")}
    assert aside == {f"{kind} train" for kind in ("image", "audio", "document", "text")}
    assert len(kept) + len(aside) == 12
    facts = data_identity(paths["audited"]).facts
    assert (facts["rows"], facts["quarantined"], facts["by"]["split"]) == (8, 4, {"test": 4, "train": 4})
    assert facts["reasons"] == {"leak_audio": 1, "leak_document": 1, "leak_image": 1, "leak_text": 1}
    pairs = pq.read_table(paths["pairs"] / "pairs.parquet").to_pylist()
    assert {(p["record_a"], p["record_b"]) for p in pairs} == {(name, f"{name.split()[0]} test") for name in aside}
    page = _Page()
    text = paths["report"].read_text(encoding="utf-8")
    page.feed(text)
    assert page.sources
    assert all(source.startswith("data:") for source in page.sources), "the page must be self-contained"
    assert "image &lt;test&gt;" not in text  # labels are no pairs
    assert "<mark>xylophone</mark>" in text
    assert track(None, **paths)["audit"]["pairs"]["image across near"] == 1


def test_the_page_is_bounded(tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus")
    _, paths = audited(corpus, tmp_path / "few", shown_bytes=0)
    text = paths["report"].read_text(encoding="utf-8")
    assert "data:" not in text
    assert "not shown" in text
    _, paths = audited(corpus, tmp_path / "none", shown_pairs=0)
    assert "<mark>" not in paths["report"].read_text(encoding="utf-8")


def test_a_failing_policy_names_pairs_and_report_and_writes_no_corpus(tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus")
    with pytest.raises(
        DataError, match=r"1 pairs of image \(across splits\)[\s\S]*image train / image test[\s\S]*report"
    ):
        audited(corpus, tmp_path, policies={"image": {"across": "fail"}})
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "pairs" / "pairs.parquet").is_file()
    assert not (tmp_path / "audited").exists()


def test_too_much_change_stops(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="maximum_changed_share"):
        audited(build(tmp_path / "corpus"), tmp_path, maximum_changed_share=0.1)


def test_moved_groups_are_named_and_facts_of_validation_are_kept(tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus")
    before = {"digest": "0123", "dvc": {"path": "corpus", "md5": "m"}, "quarantined": 2, "reasons": {"text_empty": 2}}
    (corpus / "dataset.json").write_text(json.dumps(before))
    move = {kind: {"across": "move"} for kind in ("image", "audio")}
    scalars, paths = audited(corpus, tmp_path, policies=move)
    assert (scalars["moved"], scalars["quarantined"]) == (2, 1)
    facts = data_identity(paths["audited"]).facts
    assert facts["audit"]["moved_groups"] == {f"{kind} train": "test" for kind in move}
    assert facts["audit"]["input"] == "0123"
    assert facts["dvc"] == before["dvc"]
    assert facts["digest"] != "0123"
    assert (facts["quarantined"], facts["reasons"]["text_empty"]) == (3, 2)
    splits = {r.group: r.split for r in read_records(paths["audited"] / "corpus.parquet")}
    assert splits["image train"] == "test"


def test_vectors_of_a_model_find_near_items(tmp_path: Path, tiny_artifact: Path) -> None:
    corpus = build(tmp_path / "corpus")
    with pytest.raises(ConfigError, match="needs a model"):
        audited(corpus, tmp_path, embedding={"enabled": True})
    paths = {name: tmp_path / name for name in ("audited", "quarantine", "pairs", "report")}
    config = AuditConfig.parse({**WIDE, "embedding": {"enabled": True, "cosine": 0.9}})
    run(config, dataset=corpus, model=tiny_artifact, **paths)
    pairs = pq.read_table(paths["pairs"] / "pairs.parquet").to_pylist()
    found = {p["record_a"] for p in pairs if p["kind"] == "embedding" and p["scope"] == "across"}
    assert {"image train", "audio train"} <= found


def test_moving_by_vectors_is_refused() -> None:
    with pytest.raises(ConfigError, match="matter of degree"):
        AuditConfig.parse({"embedding": {"enabled": True}, "policies": {"embedding": {"across": "move"}}})
