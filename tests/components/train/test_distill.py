"""A distill stage learns from a model or from stored vectors, of one and the same contents, and resumes."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from components.embed.config import EmbedConfig
from components.embed.run import run as embed
from components.train import teacher as teachers
from components.train.config import TrainConfig
from components.train.vectors import read_vectors, write_vectors
from data.corpus import Corpus
from model.artifact import load_encoder
from model.content import Content
from model.encoding import encode_contents
from model.errors import ConfigError, DataError
from tests.components.train import together
from tests.components.train.conftest import NAMES
from tests.components.train.test_run import train, train_cut
from tests.components.train.together import Case
from tests.model.sentence_transformer.tiny import make
from tests.side_by_side import side_by_side


def config(teacher: dict, **changes: object) -> TrainConfig:
    stage = {
        "kind": "distill",
        "steps": 6,
        "tasks": [{"name": "text_to_image", "batch_size": 4}],
        "trainable": {"projectors": 1e-2},
        "warmup_steps": 0,
        "checkpoint_every_steps": 2,
        "log_every_steps": 1,
        "teacher": teacher,
        **changes,
    }
    return TrainConfig.parse({"stage": stage})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another tiny encoder with every tower, whose pictures of a thing lie near its word."""
    from model.unified.build import build_encoder
    from model.weights.random import random_weights

    home = tmp_path_factory.mktemp("teacher")
    encoder = build_encoder(random_weights(home / "weights"), {}, source="random")
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).to(parameter)
    encoder.save(home / "artifact")
    return home / "artifact"


def distances(student: Path, teacher: Path, dataset: Path) -> float:
    """Mean squared distance of the pictures' vectors."""
    corpus = Corpus(dataset)
    pictures = [corpus.resolve(r).positives[0] for r in corpus.records]
    ours, theirs = (encode_contents(load_encoder(d), pictures, desc="") for d in (student, teacher))
    return float(np.square(ours - theirs).sum(1).mean())


def test_the_student_comes_nearer_to_its_teacher(dataset, tiny_artifact, teacher, tmp_path) -> None:
    seen: list[dict] = []
    wanted = config({"model": str(teacher), "loss": {"geometry": 1.0, "contrastive": 0.1}}, steps=40)
    train(wanted, dataset, tiny_artifact, tmp_path, [lambda scalars, step: seen.append(dict(scalars))])
    assert {"relation", "geometry", "contrastive", "loss"} <= {n.split("/")[1] for n in seen[0] if n.count("/") == 1}
    assert seen[-1]["text_to_image/geometry"] < seen[0]["text_to_image/geometry"]
    before = distances(tiny_artifact, teacher, dataset)
    assert distances(tmp_path / "model", teacher, dataset) < 0.9 * before
    total = [row["text_to_image/relation"] + row["text_to_image/geometry"] + 0.1 * row["text_to_image/contrastive"]
             for row in seen]  # fmt: skip
    assert [row["loss"] for row in seen] == pytest.approx(total, rel=1e-5)


def test_a_killed_stage_resumes_without_its_teacher_embedding_again(
    dataset, tiny_artifact, teacher, tmp_path, monkeypatch
) -> None:
    wanted = config({"model": str(teacher)}, ema=0.9)
    train(wanted, dataset, tiny_artifact, tmp_path / "whole")
    asked: list[int] = []
    real = teachers.encode_contents

    def counted(encoder, contents, **options):
        asked.append(len(contents))
        return real(encoder, contents, **options)

    monkeypatch.setattr(teachers, "encode_contents", counted)
    resumed = train_cut(wanted, dataset, tiny_artifact, tmp_path / "cut")
    assert resumed["resumed_from"] == 4
    assert asked == [2 * len(NAMES)], "each content once, and none after the kill"
    one, two = (load_file(tmp_path / w / "model/projectors.safetensors") for w in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_stored_vectors_teach_what_their_model_teaches(dataset, tiny_artifact, teacher, tmp_path) -> None:
    """What is missing is listed so that ``omnivec embed`` makes it; then the student is that of the model."""
    stored = tmp_path / "stored"
    stored.mkdir()
    with pytest.raises(DataError, match=r"lacks 16 of 16 contents, of tasks text_to_image: .*more\.parquet") as error:
        train(config({"vectors": str(stored)}), dataset, tiny_artifact, tmp_path / "a")
    place = tmp_path / "a/checkpoints/missing/contents.jsonl"
    assert str(place) in str(error.value)
    assert not list((tmp_path / "a/checkpoints").glob("step-*"))
    embed(EmbedConfig(), inputs=[place], model=teacher, output=stored / "more.parquet")
    train(config({"vectors": str(stored)}), dataset, tiny_artifact, tmp_path / "a")
    train(config({"model": str(teacher)}), dataset, tiny_artifact, tmp_path / "b")
    one, two = (load_file(tmp_path / w / "model/projectors.safetensors") for w in "ab")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    before = load_file(tiny_artifact / "projectors.safetensors")
    assert any(not torch.allclose(one[name], before[name], atol=1e-3) for name in one)


def test_the_teacher_sees_the_contents_of_the_batch(dataset, tiny_artifact, teacher, tmp_path) -> None:
    """Vector by vector, by its own prompts, whatever prompts the student drops."""
    from components.train.run import _batches
    from model.training.world import ALONE

    prompts = {"query_task": "query", "document_task": "document"}
    stage = config({"model": str(teacher), **prompts}, prefix_dropout=0.5).stage
    make = _batches(load_encoder(tiny_artifact), stage, dataset, ALONE)
    batch = teachers.taught(make, stage, (64,), tmp_path)(3)
    order = make.order(3)
    examples = [make.corpus.resolve(r) for r in order.draw.records]
    encoder = load_encoder(teacher)
    sides = (
        [Content(e.query.parts, task="query") for e in examples],
        [Content(e.positives[0].parts, task="document") for e in examples],
    )
    names = teachers.names_of(order, stage.teacher)
    for found, contents, own in zip(batch.teacher.sides, sides, names, strict=True):
        assert own == [content.digest for content in contents], "from records alone, without a byte of media"
        assert np.allclose(found, encode_contents(encoder, contents, desc=""), atol=1e-5)
    assert not np.allclose(
        batch.teacher.sides[0], encode_contents(encoder, [Content(c.parts) for c in sides[0]], desc=""), atol=1e-3
    )


def test_a_teacher_that_lacks_a_modality_is_refused_before_any_work(dataset, tiny_artifact, tmp_path) -> None:
    """Also: a model of sentence-transformers as its makers left it is a teacher."""
    text = make("text", tmp_path / "text")
    with pytest.raises(ConfigError, match=r"takes text, but text_to_image has image: leave these tasks out"):
        train(config({"model": str(text)}), dataset, tiny_artifact, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_teacher_that_does_not_fit_is_refused(dataset, tiny_artifact, teacher, tmp_path) -> None:
    with pytest.raises(ConfigError, match="no directory here"):
        train(config({"model": str(tmp_path / "nowhere")}), dataset, tiny_artifact, tmp_path)
    for wrong, said in (
        ({}, "needs a teacher"),
        ({"teacher": {}}, "give one of model"),
        ({"teacher": {"model": "a", "vectors": "b"}}, "give one of model"),
        ({"teacher": {"model": "a", "loss": {"relation": 0}}}, "both 0"),
        ({"kind": "align", "teacher": {"model": "a"}}, "other kinds have none"),
    ):
        stage = config({"model": "a"}).stage.model_dump(mode="json", exclude={"teacher"})
        with pytest.raises(ConfigError, match=said):
            TrainConfig.parse({"stage": {**stage, **wrong}})


def test_files_of_vectors_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    write_vectors(tmp_path / "a.parquet", ["x", "y"], np.array([[3.0, 4.0], [0.0, 2.0]], np.float32))
    found = read_vectors(tmp_path, {"x", "y", "z"})
    assert ("z" in found, found.width) == (False, 2)
    assert np.allclose(found(["y", "x"]), [[0, 1], [0.6, 0.8]])
    write_vectors(tmp_path / "b.parquet", ["z"], np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match="2, 3"):
        read_vectors(tmp_path, {"x", "z"})
    write_vectors(tmp_path / "b.parquet", ["z"], np.zeros((1, 2), np.float32))
    with pytest.raises(DataError, match="zero or not finite"):
        read_vectors(tmp_path, {"z"})
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.rename_columns(["name", "vector"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="no column id"):
        read_vectors(tmp_path, {"z"})


def test_geometry_needs_dimensions_that_the_teacher_has(dataset, tiny_artifact, tmp_path) -> None:
    stored = tmp_path / "stored"
    wanted = config({"vectors": str(stored), "loss": {"geometry": 1}})
    stored.mkdir()
    with pytest.raises(DataError):
        train(wanted, dataset, tiny_artifact, tmp_path)
    lines = (tmp_path / "checkpoints/missing/contents.jsonl").read_text().splitlines()
    names = [json.loads(line)["id"] for line in lines]
    write_vectors(stored / "v.parquet", names, np.random.default_rng(0).normal(size=(len(names), 5)).astype(np.float32))
    with pytest.raises(ConfigError, match="the teacher 5"):
        train(wanted, dataset, tiny_artifact, tmp_path)
    assert train(config({"vectors": str(stored)}), dataset, tiny_artifact, tmp_path)["steps"] == 6


@pytest.mark.minutes
@pytest.mark.timeout(300)
def test_two_processes_distill_as_one(mixed, still, teacher, tmp_path) -> None:
    """Each embeds what its share needs, whole or sharded; with pieces, averaged weights and layers recomputed."""
    changes = {
        "kind": "distill",
        "teacher": {"model": str(teacher), "loss": {"geometry": 0.5, "contrastive": 0.2}},
        "micro_batch_tokens": 24,
        "ema": 0.9,
        "activation_checkpointing": True,
    }
    together.alone(together.config(1, **changes), mixed, still, tmp_path / "one")
    strategies = ("ddp", "fsdp")
    cases = [Case(together.config(2, s, **changes), mixed, still, tmp_path / s) for s in strategies]
    side_by_side(together.train_cases, cases)
    for strategy in strategies:
        together.agree(tmp_path / "one", tmp_path / strategy, still)
        assert len(list((tmp_path / strategy / "checkpoints/teacher").rglob("*of2.parquet"))) == 2
