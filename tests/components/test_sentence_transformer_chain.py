"""The steps of a run with models of the sentence_transformer family, from the first weights to the served vector."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from components.evaluate.config import EvaluateConfig
from components.evaluate.run import run as evaluate
from components.export.config import ExportConfig
from components.export.run import run as export
from components.features.config import FeaturesConfig
from components.features.run import run as features
from components.init_model.config import InitModelConfig
from components.init_model.run import run as init_model
from components.soup.config import SoupStepConfig
from components.soup.run import run as soup
from components.train.config import TrainConfig
from components.train.run import run as train
from data.shards import write_shard
from model.artifact import load_encoder
from model.encoding import encode_contents
from model.errors import ConfigError
from tests.conftest import benchmark_records
from tests.model.sentence_transformer.conftest import SETTINGS, contents_for
from tests.model.sentence_transformer.tiny import make

TASKS = {
    "text": ["bitext", "heading_to_passage"],
    "siglip": ["text_to_image"],
    "gemma2": ["text_to_image", "speech_to_text", "text_to_video", "composed_to_image"],
    "qwen3_vl": ["text_to_image", "text_to_video"],
}
BENCHMARKS = {
    **TASKS,
    "gemma2": ["text_to_image", "speech_to_text", "composed_to_image", "text_to_video_motion"],
    "qwen3_vl": ["text_to_image", "text_to_video_motion"],
}
LORA = {"trainable": {"lora": 1e-2}, "lora": {"rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]}}
LEARNING = {
    "text": {"trainable": {"model": 1e-3}},
    "siglip": {"trainable": {"model": 1e-3}},
    "gemma2": LORA,
    "qwen3_vl": LORA,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in which every test record comes a second and third time, for training and validation."""
    directory = tmp_path_factory.mktemp("chain")
    records, media = benchmark_records()
    every = [
        replace(r, id=_again(r.id, split), group=f"{r.group}/{split}", split=split)
        for r in records
        for split in ("train", "validation", "test")
    ]
    for source in sorted({r.source for r in every}):
        own = [r for r in every if r.source == source]
        used = {p.media for r in own for c in (r.query, *r.positives) for p in c if p.media}
        write_shard(directory / f"{source}.parquet", own, {d: media[d] for d in used})
    return directory


def _again(name: str, split: str) -> str:
    """An id of its own for each split: in that of a clip, whose form is fixed, the concept carries it."""
    source, concept, *rest = name.split("/")
    return "/".join([source, f"{concept}-{split}", *rest]) if source == "motion" else f"{name}/{split}"


def stage(name: str, **changes: Any) -> TrainConfig:
    return TrainConfig.parse(
        {
            "stage": {
                "kind": "finetune",
                "steps": 4,
                "warmup_steps": 1,
                "snapshots": 1,
                "tasks": [{"name": task, "batch_size": 3} for task in TASKS[name]],
                **LEARNING[name],
                **changes,
            }
        }
    )


def start(name: str, where: Path) -> Path:
    config = {"family": "sentence_transformer", "source": "hub", "checkpoint": str(make(name, where / name))}
    init_model(InitModelConfig.parse({**config, "encoder": SETTINGS[name]}), home=where, output=where / "start")
    return where / "start"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.minutes if name == "gemma2" else ()) for name in TASKS]
)
def test_the_whole_chain(dataset: Path, tmp_path: Path, name: str) -> None:
    began = start(name, tmp_path)
    assert features(FeaturesConfig(), dataset=dataset, model=began, output=tmp_path / "store")["stored"] == 0
    shared = {"dataset": dataset, "features": tmp_path / "store"}
    trained, mixed, shown = tmp_path / "trained", tmp_path / "mixed", tmp_path / "shown"
    losses: list[float] = []
    done = train(
        stage(name, log_every_steps=1),
        model=began,
        checkpoints=tmp_path / "checkpoints",
        output=trained,
        sinks=[lambda scalars, _: losses.append(scalars["loss"])],
        **shared,
    )
    assert done["steps"] == len(losses) == 4
    assert np.isfinite(losses).all()
    before, after = load_file(began / "model.safetensors"), load_file(trained / "model.safetensors")
    assert before.keys() == after.keys(), "adapters are merged into the weights"
    assert any(not before[k].equal(after[k]) for k in before), "nothing learned"

    cook = SoupStepConfig.parse({"stage": {"tasks": TASKS[name][:1], "queries_per_task": 10}})
    tried = soup(cook, base=began, model=trained, output=mixed, **shared)
    assert tried["candidates"] >= 3
    assert tried["score"] >= max(tried["score_base"], tried["score_finetuned"])

    measured = EvaluateConfig.parse({"tasks": BENCHMARKS[name], "draws": 100, "least_queries": 3, "examples": 1})
    evaluate(
        measured, model=mixed, baseline=began, results=tmp_path / "results", report=tmp_path / "report.html", **shared
    )
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert metrics["mteb"]["largest_difference"] < 2e-5

    scalars = export(
        ExportConfig.parse({"parity_per_kind": 2, "reference_per_kind": 20}), model=mixed, dataset=dataset, output=shown
    )
    assert min(v for k, v in scalars.items() if k.startswith("cosine/")) > 0.99999
    assert not list(shown.rglob("*.onnx"))
    assert "sentence-transformers" in (shown / "README.md").read_text()
    served_vectors_are_the_offline_ones(shown)


def served_vectors_are_the_offline_ones(artifact: Path) -> None:
    """By the service's own engine, asked for its default backend; without peft and onnx."""
    from serving.engine import load_engine
    from serving.samples import sample_contents

    engine = load_engine(artifact, backend="onnx", modalities=None)
    samples = [c for c in sample_contents(engine.modalities) if engine.takes(c)]
    engine.warm_up(samples)
    contents = contents_for(engine.encoder)
    served = engine.compute([engine.prepare(content) for content in contents])
    np.testing.assert_allclose(served, encode_contents(load_encoder(artifact), contents, desc=""), atol=1e-5)


def test_adapters_are_merged_exactly_and_what_is_frozen_stays(dataset: Path, tmp_path: Path) -> None:
    from model.training.config import LoraConfig
    from model.training.module import trainable_state
    from model.training.schedule import freeze_except

    began = start("gemma2", tmp_path)
    encoder = load_encoder(began)
    layers = encoder.add_lora(LoraConfig(rank=4, targets=("q_proj",)), seed=1)
    rates = freeze_except(encoder, {"lora": 1e-3})
    assert len(rates) == 2 * layers > 0
    for name, parameter in encoder.named_parameters():
        if name in rates:
            parameter.data.normal_(std=0.2)
    contents = contents_for(encoder)
    adapted = encode_contents(encoder, contents, desc="")
    assert np.abs(adapted - encode_contents(load_encoder(began), contents, desc="")).max() > 1e-3
    snapshot = trainable_state(encoder)
    again = load_encoder(began)
    assert not again.load_state_dict(snapshot, strict=False).unexpected_keys
    np.testing.assert_allclose(encode_contents(again, contents, desc=""), adapted, atol=1e-5)
    encoder.save(tmp_path / "merged")
    np.testing.assert_allclose(
        encode_contents(load_encoder(tmp_path / "merged"), contents, desc=""), adapted, atol=1e-5
    )


def test_lora_is_refused_where_it_cannot_be(dataset: Path, tiny_artifact: Path, tmp_path: Path) -> None:
    places = {"dataset": dataset, "features": None, "checkpoints": tmp_path / "c", "output": tmp_path / "o"}
    with pytest.raises(ConfigError, match="lora is for the sentence_transformer family"):
        train(stage("text", lora={"rank": 4}), model=tiny_artifact, **places)
    with pytest.raises(ConfigError, match="name no linear layer"):
        train(stage("text", lora={"rank": 4, "targets": ["nosuch"]}), model=start("text", tmp_path), **places)


def test_init_model_says_what_the_family_needs(tmp_path: Path) -> None:
    config = InitModelConfig.parse({"family": "sentence_transformer", "source": "random"})
    with pytest.raises(ConfigError, match="set source=hub and checkpoint"):
        init_model(config, home=tmp_path, output=tmp_path / "out")
