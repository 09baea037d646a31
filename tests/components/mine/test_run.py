"""The mine step: negatives are versioned data that a stage trains on, and a killed step goes on where it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from components.lineage import data_identity
from components.mine.config import MineConfig
from components.mine.run import run
from data.records import Record
from data.shards import read_records, shard_paths, write_shard
from model.content import Modality
from model.errors import ArtifactError, ConfigError, DataError
from model.integrity import artifact_digest, file_digest

LOOSE = {"rules": {"ratio": None, "near": None, "number": 3, "last_rank": 12}, "plants": {"queries": 8}}


def mine(dataset: Path, model: Path, where: Path, kept: Path | None = None, **changes: object) -> dict[str, float]:
    config = MineConfig.parse({"kind": "mine", **LOOSE, **changes})
    paths = {"output": where / "mined", "report": where / "report.html"}
    return run(config, dataset=dataset, model=model, features=None, kept=kept, **paths)


def records(directory: Path) -> dict[str, Record]:
    return {r.id: r for path in shard_paths(directory) for r in read_records(path)}


@pytest.fixture(scope="module")
def mined(
    dataset: Path, tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float]]:
    where = tmp_path_factory.mktemp("mined")
    return where, mine(dataset, tiny_artifact, where)


def test_every_record_comes_out_and_counts_add_up(mined, dataset) -> None:
    where, scalars = mined
    before, after = records(dataset), records(where / "mined")
    assert before.keys() == after.keys()
    assert {name: replace(r, negatives=before[name].negatives) for name, r in after.items()} == before
    gained = {name: len(r.negatives) - len(before[name].negatives) for name, r in after.items()}
    assert {n for name, n in gained.items() if before[name].split == "train"} == {3}
    assert {n for name, n in gained.items() if before[name].split != "train"} == {0}
    assert scalars["records"] == scalars["with_negatives"] + scalars["without"] == 27
    assert scalars["records"] + scalars["untouched"] == len(before) == 30
    assert scalars["negatives"] == sum(gained.values())
    assert after["toy/cat/text"].negatives[0][0].text == "an old negative"


def test_no_negative_is_of_the_same_concept_or_of_another_split(mined) -> None:
    after = records(mined[0] / "mined")
    home = {(p, r.group, r.split) for r in after.values() for p in r.positives}
    for row in after.values():
        for negative in row.negatives:
            assert (negative, row.group, row.split) not in home
            assert negative[0].text == "an old negative" or any((negative, n, "train") in home for n in names(after))


def names(found: dict[str, Record]) -> set[str]:
    return {r.group for r in found.values()}


def test_the_data_say_what_they_were_made_of(mined, dataset, tiny_artifact) -> None:
    facts = data_identity(mined[0] / "mined").facts
    assert facts["digest"] != data_identity(dataset).digest == facts["mining"]["parent"]
    assert facts["mining"]["model"] == artifact_digest(tiny_artifact)
    assert facts["mining"]["config"]["rules"]["number"] == 3
    assert facts["mining"]["counts"] == mined[1]
    assert facts["rows"] == 30 == sum(facts["by"]["task"].values())


def test_facts_of_the_parent_are_kept(dataset, tiny_artifact, tmp_path) -> None:
    parent = tmp_path / "parent"
    for path in shard_paths(dataset):
        write_copy(path, parent)
    facts = {"digest": "feed", "dvc": {"path": "starter", "md5": "beef.dir"}, "rows": 30, "quarantined": 4}
    (parent / "dataset.json").write_text(json.dumps(facts))
    mine(parent, tiny_artifact, tmp_path, plants={"queries": 0})
    found = data_identity(tmp_path / "mined")
    assert found.dvc_md5 == "beef.dir"
    assert (found.facts["quarantined"], found.facts["mining"]["parent"]) == (4, "feed")
    facts["rows"] = 31
    (parent / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"31 records by its dataset.json, but 30 were written"):
        mine(parent, tiny_artifact, tmp_path / "again")


def write_copy(path: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    (target / path.name).write_bytes(path.read_bytes())


def test_a_stage_trains_on_them_unchanged(mined, tiny_artifact, tmp_path) -> None:
    from components.train.config import TrainConfig
    from components.train.run import run as train

    tasks = [
        {"name": "text_to_image", "batch_size": 4, "hard_negatives": 3},
        {"name": "heading_to_passage", "batch_size": 4, "hard_negatives": 2},
    ]
    stage = {"kind": "finetune", "steps": 4, "tasks": tasks, "trainable": {"projectors": 1e-2, "head": 1e-3}}
    paths = {"dataset": mined[0] / "mined", "model": tiny_artifact, "features": None}
    result = train(TrainConfig.parse({"stage": stage}), **paths, checkpoints=tmp_path / "c", output=tmp_path / "model")
    assert result["steps"] == 4
    assert (tmp_path / "model" / "digests.json").is_file()


def test_the_same_input_gives_the_same_bytes(mined, dataset, tiny_artifact, tmp_path) -> None:
    mine(dataset, tiny_artifact, tmp_path)
    for path in shard_paths(tmp_path / "mined"):
        assert file_digest(path) == file_digest(mined[0] / "mined" / path.name)
    assert (tmp_path / "mined" / "dataset.json").read_bytes() == (mined[0] / "mined" / "dataset.json").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == (mined[0] / "report.html").read_bytes()
    mine(dataset, tiny_artifact, tmp_path / "other", rules={**LOOSE["rules"], "pick": "random"})  # type: ignore[dict-item]
    assert file_digest(tmp_path / "other" / "mined" / "texts.parquet") != file_digest(
        tmp_path / "mined" / "texts.parquet"
    )


def test_a_killed_step_goes_on_to_the_same_bytes(mined, dataset, tiny_artifact, tmp_path, monkeypatch) -> None:
    from data.mining import pool

    class Killed(BaseException):
        pass

    calls: list[int] = []
    encode = pool.encode_contents

    def counted(encoder, contents, **options):
        calls.append(len(contents))
        if len(calls) == 4:
            raise Killed
        return encode(encoder, contents, **options)

    monkeypatch.setattr(pool, "encode_contents", counted)
    monkeypatch.setattr(pool, "CHUNK", 5)
    with pytest.raises(Killed):
        mine(dataset, tiny_artifact, tmp_path, kept=tmp_path / "kept")
    assert not (tmp_path / "mined").exists()
    before = len(calls)
    mine(dataset, tiny_artifact, tmp_path, kept=tmp_path / "kept")
    assert sum(calls[before:]) == 9 + 9 + 9 + 18 - sum(calls[: before - 1]), "what was done is not done again"
    for path in shard_paths(tmp_path / "mined"):
        assert file_digest(path) == file_digest(mined[0] / "mined" / path.name)
    before = len(calls)
    mine(dataset, tiny_artifact, tmp_path / "other", kept=tmp_path / "kept", rules={"number": 1})
    assert len(calls) == before, "other rules need no other vectors"


def test_features_of_the_towers_are_used(mined, dataset, tiny_artifact, tmp_path) -> None:
    from components.features.config import FeaturesConfig
    from components.features.run import run as build

    build(FeaturesConfig(), dataset=dataset, model=tiny_artifact, output=tmp_path / "features")
    config = MineConfig.parse(LOOSE)
    paths = {"output": tmp_path / "mined", "report": tmp_path / "report.html"}
    run(config, dataset=dataset, model=tiny_artifact, features=tmp_path / "features", **paths)
    (tmp_path / "features" / "index.json").unlink()
    with pytest.raises(ArtifactError, match="not a feature store"):
        run(config, dataset=dataset, model=tiny_artifact, features=tmp_path / "features", **paths)
    one, two = records(mined[0] / "mined"), records(tmp_path / "mined")
    assert all(one[n].negatives == r.negatives for n, r in two.items() if r.source == "texts")
    # The cosines of a model without training lie within the rounding of stored features: no order to compare.
    assert all(len(one[n].negatives) == len(r.negatives) for n, r in two.items())


def test_the_report_shows_rates_rules_and_examples(mined) -> None:
    page = (mined[0] / "report.html").read_text()
    for words in ("hidden", "altered", "copy", "a positive of the record", "might be taken",
                  "data:image/png;base64", "a cat is what you see here", "81 negatives for 27 of 27 records",
                  "<svg"):  # fmt: skip
        assert words in page, words
    scalars = mined[1]
    assert scalars["planted_copy"] == 16
    assert scalars["planted_copy_refused"] == 1
    assert scalars["planted_hidden"] == 8, "of the pictures; headings have one passage each"


def test_a_judge_is_asked(dataset, tiny_artifact, tmp_path) -> None:
    judge = {"model": str(tiny_artifact), "ratio": 0.0001, "candidates": 6}
    result = mine(dataset, tiny_artifact, tmp_path, judge=judge, tasks=[{"name": "heading_to_passage"}])
    assert result["negatives"] == 0, "by that ratio everything is right"
    assert result["without"] == result["records"] == 9
    page = (tmp_path / "report.html").read_text()
    assert "the judge holds it to be as good" in page
    assert "no record got a negative" in page
    elsewhere = {**judge, "tasks": ["text_to_image"]}
    assert (
        mine(dataset, tiny_artifact, tmp_path, judge=elsewhere, tasks=[{"name": "heading_to_passage"}])["without"] == 0
    )
    with pytest.raises(ConfigError, match=r"judge\.model: nowhere is no directory"):
        mine(dataset, tiny_artifact, tmp_path, judge={"model": "nowhere"})


def test_tasks_that_cannot_be_mined_for(dataset, tiny_artifact, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"no train record of task\(s\) \['bitext'\].*heading_to_passage"):
        mine(dataset, tiny_artifact, tmp_path, tasks=[{"name": "bitext"}])
    with pytest.raises(ConfigError, match=r"in languages \['ja'\]"):
        mine(dataset, tiny_artifact, tmp_path, tasks=[{"name": "heading_to_passage", "languages": ["ja"]}])
    with pytest.raises(ConfigError, match="each task may appear once"):
        MineConfig.parse({"tasks": [{"name": "a"}, {"name": "a"}]})
    test = [replace(r, split="test") for r in read_records(dataset / "texts.parquet")]
    write_shard(tmp_path / "untrained" / "texts.parquet", test, {})
    with pytest.raises(DataError, match="no record in its train split"):
        mine(tmp_path / "untrained", tiny_artifact, tmp_path)


def test_a_model_without_a_modality(dataset, tiny_artifact, tmp_path, monkeypatch) -> None:
    from components.evaluate import measure
    from model.artifact import load_encoder

    words = load_encoder(tiny_artifact, modalities=frozenset({Modality.TEXT}))
    monkeypatch.setattr(measure, "open_encoder", lambda *_: words)
    assert mine(dataset, tiny_artifact, tmp_path)["records"] == 9
    assert "Left out, because the model lacks a modality: text_to_image" in (tmp_path / "report.html").read_text()
    with pytest.raises(ConfigError, match=r"not enough for task\(s\) \['text_to_image'\]"):
        mine(dataset, tiny_artifact, tmp_path, tasks=[{"name": "text_to_image"}])
