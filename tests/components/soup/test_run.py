"""The soup step over a run and over runs: what goes in, what is refused, what is written down."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.soup.config import SoupStepConfig
from components.soup.run import run
from data.records import PartRef, Record
from data.shards import write_shard
from model.artifact import load_encoder
from model.content import Modality, media_digest
from model.errors import ConfigError
from model.integrity import write_digests
from tests.conftest import make_png

NAMES = [f"thing {i}" for i in range(12)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("validation")
    media = {media_digest(d := make_png(i)): (Modality.IMAGE, d) for i in range(len(NAMES))}
    rows = [
        Record(
            id=f"{task}/{name}",
            task=task,
            query=(PartRef(Modality.TEXT, text=name),),
            positives=(positive,),
            negatives=(),
            source="toy",
            languages=("en",),
            license="MIT",
            group=name,
            split="validation",
        )
        for name, digest in zip(NAMES, media, strict=True)
        for task, positive in (
            ("text_to_image", (PartRef(Modality.IMAGE, media=digest),)),
            ("bitext", (PartRef(Modality.TEXT, text=name.upper()),)),
        )
    ]
    write_shard(directory / "toy.parquet", rows, media)
    return directory


def moved(artifact: Path, where: Path, seed: int, part: str = "projectors", scale: float = 0.05) -> Path:
    """The model after a run that moved one of its parts at random."""
    shutil.copytree(artifact, where)
    state = load_file(where / f"{part}.safetensors")
    rng = torch.Generator().manual_seed(seed)
    save_file({n: (t + scale * torch.randn(t.shape, generator=rng)).to(t.dtype) for n, t in state.items()},
              where / f"{part}.safetensors", metadata={"format": "pt"})  # fmt: skip
    write_digests(where)
    return where


def cook(method: str, dataset: Path, base: Path, model: Path, output: Path, *others: Path) -> dict[str, float]:
    stage = {"method": method, "tasks": ["text_to_image", "bitext"], "ingredients": [str(place) for place in others]}
    config = SoupStepConfig.parse({"stage": stage})
    return run(config, dataset=dataset, base=base, model=model, features=None, output=output)


@pytest.mark.parametrize("method", ["greedy", "slerp"])
def test_a_soup_over_runs(dataset, tiny_artifact, tmp_path, method) -> None:
    model, *others = (moved(tiny_artifact, tmp_path / f"m{seed}", seed) for seed in range(3))
    result = cook(method, dataset, tiny_artifact, model, tmp_path / "soup", *others)
    document = json.loads((tmp_path / "soup/soup.json").read_text())
    assert list(document["ingredients"]) == ["finetuned", "base", "run-1-m1", "run-2-m2"]
    assert document["ingredients"]["run-1-m1"] == str(others[0])
    assert result["score"] == max(document["tried"].values())
    assert set(document["tasks"]) == set(document["tried"])
    for name, scores in document["tasks"].items():
        assert set(scores) == {"text_to_image", "bitext"}
        assert sum(scores.values()) / 2 == pytest.approx(document["tried"][name])
    again = cook("uniform", dataset, tmp_path / "soup", tmp_path / "soup", tmp_path / "again")
    assert again["score_finetuned"] == result["score"], "the artifact holds the weights that were scored"


def test_ingredients_of_another_start_are_refused(dataset, tiny_artifact, tmp_path) -> None:
    def refuse(other: Path, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            cook("greedy", dataset, tiny_artifact, tiny_artifact, tmp_path / "soup", other)

    refuse(tmp_path / "nowhere", "no directory here")
    names = {path.stem for path in tiny_artifact.glob("*.safetensors")}
    assert {"projectors", "trunk"} < names
    tower = next(name for name in sorted(names) if "tower" in name)
    refuse(moved(tiny_artifact, tmp_path / "towers", 1, tower), "its towers are others")
    encoder = load_encoder(tiny_artifact)
    with torch.no_grad():
        encoder.table.weight[0] += 1
    encoder.save(tmp_path / "words")
    refuse(tmp_path / "words", "its word embeddings are others")
