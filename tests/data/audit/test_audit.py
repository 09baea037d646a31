"""Planted near-duplicates of every modality are all found, and different items never are."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.audit.audit import Audited, audit, why_stop
from data.audit.banding import HUBS
from data.audit.rules import AuditRules
from data.audit.write import write_audited
from data.records import PartRef, Record
from data.shards import read_records, write_shard
from model.content import Modality, media_digest
from model.errors import DataError
from tests.data.audit.planting import (
    clip,
    clips,
    document,
    documents,
    drawing,
    encoded,
    melody,
    pictures,
    sentence,
    sound,
    sounds,
    texts,
)

ORIGINALS, ALTERED = 8, 3
SLOW = {"document": (4, 1)}  # each is drawn by a process of its own


def text_part(said: str) -> PartRef:
    return PartRef(Modality.TEXT, text=said)


def record(name: str, query: tuple[PartRef, ...], positive: tuple[PartRef, ...], group: str, split: str) -> Record:
    return Record(name, "task", query, (positive,), (), "corpus", ("en",), "MIT", group, split)  # type: ignore[arg-type]


class Corpus:
    """Collects records and media, and writes them as one shard."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.media: dict[str, tuple[Modality, bytes]] = {}

    def part(self, modality: str, data: bytes | str) -> PartRef:
        if isinstance(data, str):
            return text_part(data)
        digest = media_digest(data)
        self.media[digest] = (Modality(modality), data)
        return PartRef(Modality(modality), media=digest)

    def add(self, name: str, modality: str, data: bytes | str, split: str, group: str | None = None) -> None:
        own = (self.part(modality, data),)
        self.records.append(record(name, (text_part(f"label {name}"),), own, group or f"group {name}", split))

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        write_shard(directory / "corpus.parquet", self.records, self.media)
        return directory


PLANTS: dict[str, tuple[Callable[[int], bytes | str], Callable[[int], dict[str, bytes] | dict[str, str]]]] = {
    "image": (lambda seed: encoded(drawing(seed)), pictures),
    "audio": (lambda seed: sound(melody(seed)), sounds),
    "video": (clip, clips),
    "document": (document, documents),
    "text": (sentence, texts),
}


@pytest.mark.parametrize("modality", PLANTS)
def test_all_planted_are_found_and_nothing_else(modality: str, tmp_path: Path) -> None:
    original, altered = PLANTS[modality]
    corpus, planted = Corpus(), set()
    originals, altered_ones = SLOW.get(modality, (ORIGINALS, ALTERED))
    for seed in range(originals):
        corpus.add(f"{seed}", modality, original(seed), "test")
        for how, data in altered(seed).items() if seed < altered_ones else ():
            corpus.add(f"{seed} {how}", modality, data, "train")
            planted.add(f"{seed} {how}")
    found = audit(corpus.write(tmp_path / "corpus"), AuditRules(), tmp_path / "scratch")
    name = found.findings.records.name
    across = [(name(p.records[0]), name(p.records[1])) for p in found.findings.pairs if p.scope == "across"]
    assert {name(r) for r in found.verdicts.refused} == planted
    assert all(a.split()[0] == b for a, b in across), "different items were called alike"
    assert {p.kind for p in found.findings.pairs} == {modality}


def test_a_sound_is_found_whose_length_lies_between_two_numbers_of_pieces(tmp_path: Path) -> None:
    corpus = Corpus()
    for how, data in {"plain": sound(melody(5, 6.02)), **sounds(5, 6.02)}.items():
        corpus.add(how, "audio", data, "test" if how == "plain" else "train")
    found = audit(corpus.write(tmp_path / "corpus"), AuditRules(), tmp_path / "scratch")
    assert len(found.verdicts.refused) == len(sounds(5))


def small(tmp_path: Path) -> Corpus:
    """A picture in train and test, one twice in train, labels that all share, and a whole pair in two splits."""
    del tmp_path
    corpus = Corpus()
    first, second = encoded(drawing(1)), encoded(drawing(2))
    corpus.add("leak train", "image", encoded(drawing(1), "JPEG", quality=80), "train", "a")
    corpus.add("also a", "text", sentence(70), "train", "a")
    corpus.add("leak test", "image", first, "test", "b")
    corpus.add("twice 1", "image", second, "train", "c")
    corpus.add("twice 2", "image", second, "train", "d")
    corpus.add("same group 1", "image", encoded(drawing(3)), "train", "e")
    corpus.add("same group 2", "image", encoded(drawing(3)), "train", "e")
    for place, split in enumerate(("train", "validation", "test")):
        picture = (corpus.part("image", encoded(drawing(20 + place))),)
        corpus.records.append(record(f"dog {split}", (text_part("A dog!"),), picture, f"dog {place}", split))
    for split, word in (("train", "Enregistrer"), ("validation", "enregistrer…"), ("test", "Sauver")):
        corpus.records.append(record(f"save {split}", (text_part("Save"),), (text_part(word),), f"s {split}", split))
    white = encoded(drawing(1).point(lambda _: 255))
    corpus.add("blank train", "image", white, "train")
    corpus.add("blank test", "image", white, "test")
    return corpus


def run(corpus: Corpus, tmp_path: Path, **policies: dict[str, str]) -> Audited:
    return audit(corpus.write(tmp_path / "corpus"), AuditRules.parse({"policies": policies}), tmp_path / "scratch")


def names(found: Audited) -> set[str]:
    return {found.findings.records.name(r) for r in found.verdicts.refused}


def test_labels_and_blank_pictures_are_no_leaks_but_whole_pairs_are(tmp_path: Path) -> None:
    found = run(small(tmp_path), tmp_path)
    assert names(found) == {"leak train", "save train"}
    kinds = {(p.kind, p.scope, p.match) for p in found.findings.pairs}
    assert kinds == {("image", "across", "near"), ("image", "within", "exact"), ("pair", "across", "whole")}
    refusal = next(r for r in found.verdicts.refused.values() if r.reasons == ("leak_image",))
    assert "leak test in test" in refusal.message


def test_duplicates_within_a_split_are_dropped_when_asked_and_the_first_group_stays(tmp_path: Path) -> None:
    found = run(small(tmp_path), tmp_path, image={"within": "drop"})
    assert names(found) == {"leak train", "save train", "twice 2"}


def test_a_negative_that_is_a_test_item_is_a_leak_unless_told_otherwise(tmp_path: Path) -> None:
    corpus = Corpus()
    corpus.add("test", "image", encoded(drawing(1)), "test")
    corpus.add("train", "image", encoded(drawing(2)), "train")
    negative = (corpus.part("image", encoded(drawing(1))),)
    corpus.records[1] = replace(corpus.records[1], negatives=(negative,))
    assert names(run(corpus, tmp_path)) == {"train"}
    rules = AuditRules(negatives=False)
    assert not audit(tmp_path / "corpus", rules, tmp_path / "scratch").findings.pairs


def written(found: Audited, tmp_path: Path) -> tuple[dict[str, Record], dict[str, Record]]:
    places = tmp_path / "kept", tmp_path / "aside"
    records = found.findings.records
    stored = (tmp_path / "corpus", tmp_path / "scratch")
    counts = write_audited(records, found.verdicts, *places, stored=stored, limits=AuditRules().limits)
    kept, aside = ({r.id: r for path in place.glob("*.parquet") for r in read_records(path)} for place in places)
    assert counts.kept == len(kept)
    assert counts.quarantined == len(aside)
    assert len(kept) + len(aside) == len(records.split)
    return kept, aside


def test_what_is_dropped_goes_to_quarantine_with_reason_and_media(tmp_path: Path) -> None:
    corpus = small(tmp_path)
    kept, aside = written(run(corpus, tmp_path), tmp_path)
    assert set(aside) == {"leak train", "save train"}
    assert {r.id: r for r in corpus.records} == kept | aside
    lines = [json.loads(line) for line in (tmp_path / "aside" / "reasons.jsonl").read_text().splitlines()]
    assert {line["id"]: line["reasons"] for line in lines} == {
        "leak train": ["leak_image"],
        "save train": ["leak_pair"],
    }
    assert (tmp_path / "kept" / "probes" / "corpus.parquet").is_file()
    again = audit(tmp_path / "kept", AuditRules(), tmp_path / "again")
    assert not [p for p in again.findings.pairs if p.scope == "across"]


def test_whole_groups_move_to_the_highest_split(tmp_path: Path) -> None:
    corpus = small(tmp_path)
    found = run(corpus, tmp_path, image={"across": "move"}, pair={"across": "move"})
    kept, aside = written(found, tmp_path)
    assert not aside
    assert found.verdicts.moved == {"a": "test", "s train": "validation"}
    assert {kept[name].split for name in ("leak train", "also a", "leak test")} == {"test"}
    splits: dict[str, set[str]] = {}
    for r in kept.values():
        splits.setdefault(r.group, set()).add(r.split)
    assert all(len(found) == 1 for found in splits.values()), "a group was torn apart"


def test_failing_and_changing_too_much_are_reasons_to_stop(tmp_path: Path) -> None:
    found = run(small(tmp_path), tmp_path, image={"across": "fail"})
    assert any("policy is to fail" in line for line in why_stop(found, AuditRules()))
    assert names(found) == {"save train"}
    dropped = run(small(tmp_path), tmp_path)
    assert any("maximum_changed_share" in line for line in why_stop(dropped, AuditRules(maximum_changed_share=0.05)))
    assert not why_stop(dropped, AuditRules(maximum_changed_share=0.5))


def test_many_equal_hashes_do_not_explode_and_hide_no_leak(tmp_path: Path) -> None:
    corpus = Corpus()
    for seed in range(40):  # one drawing, 40 files
        image = drawing(9)
        image.putpixel((seed % 12, seed // 12), (255, 0, 0))
        corpus.add(f"{seed}", "image", encoded(image), "train" if seed != 30 else "test")
    rules = AuditRules.parse({"media": {"bucket": 8}})
    found = audit(corpus.write(tmp_path / "corpus"), rules, tmp_path / "scratch")
    assert len(found.findings.pairs) < (HUBS + 1) * 40
    assert len(found.verdicts.refused) == 39


def test_a_corpus_of_no_record_and_a_broken_shard_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no record"):
        run(Corpus(), tmp_path)
    (tmp_path / "corpus" / "corpus.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable Omnivec shard"):
        audit(tmp_path / "corpus", AuditRules(), tmp_path / "scratch")


def test_the_same_corpus_gives_the_same_answer(tmp_path: Path) -> None:
    corpus = small(tmp_path)
    tables = [run(corpus, tmp_path / name).findings.table(AuditRules()) for name in ("one", "two")]
    assert tables[0] == tables[1]
    assert np.isfinite(tables[0]["distance"].to_numpy()).all()
