"""Recipes: every problem at once, before any work."""

import pytest

from model.errors import ConfigError
from pipelines.config import RunConfig, check_directories
from pipelines.recipe import load, names, read


@pytest.mark.parametrize("name", names())
def test_recipes_are_valid_and_survive_a_round_trip(name: str) -> None:
    config = load(name)
    assert RunConfig.model_validate_json(config.model_dump_json()) == config
    assert config.name == name


def test_every_problem_is_reported_at_once_with_its_path() -> None:
    overrides = ["colour=blue", "stages.0.steps=0", "stages.0.stepz=5", "model.source=floppy", "name=Bad Name"]
    with pytest.raises(ConfigError) as refused:
        load("debug", overrides)
    text = str(refused.value)
    for path in ("colour", "stages.0.align.steps", "stages.0.align.stepz", "model.source", "name"):
        assert f"\n  {path}: " in text
    assert "5 problem(s)" in text
    assert "got 'floppy'" in text


def test_settings_of_the_encoder_are_looked_at_before_the_weights_are_there() -> None:
    with pytest.raises(ConfigError) as refused:
        load("debug", ["model.encoder.video.stills=17", "model.encoder.colour=blue"])
    assert r"encoder.video.stills: Input should be less than or equal to 16 (got 17); encoder.colour: Extra" in str(
        refused.value
    )
    with pytest.raises(ConfigError, match=r"encoder\.image_side: .*greater than or equal to 16"):
        load("embeddinggemma2", ["model.encoder.image_side=1"])
    assert load("debug", ["model.encoder.video.audio_track=true"]), "the tower that hears it comes with the weights"


def test_unknown_stage_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'align'.*'finetune'.*'mine'.*'soup'"):
        load("debug", ["stages.0.kind=pretrain"])


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        (["soup"], "0 is a soup and needs a training stage right before it"),
        (["align", "soup", "soup"], "2 is a soup and needs a training stage right before it"),
        (["align", "mine", "soup"], "1 mines, and no training stage after it"),
        (["align", "mine"], "1 mines, and no training stage after it"),
    ],
)
def test_stages_that_cannot_follow_each_other(kinds: list[str], problem: str) -> None:
    document = read("debug")
    by_kind = {"mine": {"kind": "mine"}, **{stage["kind"]: stage for stage in document["stages"]}}
    document["stages"] = [by_kind[kind] for kind in kinds]
    with pytest.raises(ConfigError, match=problem):
        RunConfig.parse(document)


def test_directories_of_other_runs_are_looked_for_before_any_work(tmp_path) -> None:
    judge = {"kind": "mine", "judge": {"model": str(tmp_path / "judge")}}
    stages = [read("debug")["stages"][0], judge, *read("debug")["stages"][1:]]
    (tmp_path / "here").mkdir()
    stages[0] = {**stages[0], "kind": "distill", "teacher": {"model": str(tmp_path / "gone")}}
    stages[-1] = {"kind": "soup", "ingredients": [str(tmp_path / "here"), str(tmp_path / "lost")]}
    with pytest.raises(ConfigError) as refused:
        check_directories(RunConfig.parse({**read("debug"), "stages": stages}))
    lines = str(refused.value).splitlines()[1:]
    assert lines == [
        f"  stages.0.teacher: {tmp_path}/gone",
        f"  stages.1.judge.model: {tmp_path}/judge",
        f"  stages.3.ingredients.1: {tmp_path}/lost",
    ]
    check_directories(load("debug"))


def test_digest_follows_values() -> None:
    assert load("debug").digest() == load("debug").digest()
    assert load("debug").digest() != load("debug", ["stages.0.steps=5"]).digest()
