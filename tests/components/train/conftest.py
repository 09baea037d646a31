"""Corpora of eight pairs, and a model without chance."""

import json
import shutil
from pathlib import Path

import pytest

from data.records import PartRef, Record
from data.shards import write_shard
from model.content import Modality, media_digest
from tests.conftest import make_ogg, make_png

NAMES = ["cat", "dog", "sun", "tree", "boat", "car", "fish", "hat"]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pairs")
    media = {media_digest(d := make_png(i)): (Modality.IMAGE, d) for i in range(len(NAMES))}
    rows = [
        Record(
            id=f"toy/{name}",
            task="text_to_image",
            query=(PartRef(Modality.TEXT, text=name),),
            positives=((PartRef(Modality.IMAGE, media=digest),),),
            negatives=(),
            source="toy",
            languages=("en",),
            license="MIT",
            group=name,
            split="train",
        )
        for name, digest in zip(NAMES, media, strict=True)
    ]
    write_shard(directory / "toy.parquet", rows, media)
    return directory


def toy_pair(i: int, modality: Modality, digest: str, *negatives: str) -> Record:
    """Pair ``i`` of some words and a medium, with texts that are hard negatives."""
    return Record(
        id=f"toy/{i}",
        task="text_to_image",
        query=(PartRef(Modality.TEXT, text=f"number {i}" + " and more" * (i % 4)),),
        positives=((PartRef(modality, media=digest),),),
        negatives=tuple((PartRef(Modality.TEXT, text=text),) for text in negatives),
        source="toy",
        languages=("en",),
        license="MIT",
        group=str(i),
        split="train",
    )


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of a word and a picture or a sound, so that a share of a batch may lack one of the modalities."""
    directory = tmp_path_factory.mktemp("mixed")
    media, rows = {}, []
    for i in range(8):
        modality, data = (Modality.IMAGE, make_png(i)) if i % 3 else (Modality.AUDIO, make_ogg(i, 0.3))
        media[digest := media_digest(data)] = (modality, data)
        rows.append(toy_pair(i, modality, digest))
    write_shard(directory / "toy.parquet", rows, media)
    return directory


@pytest.fixture(scope="session")
def still(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder without dropout, whose pattern depends on the process."""
    where = tmp_path_factory.mktemp("still") / "model"
    shutil.copytree(tiny_artifact, where)
    document = json.loads((where / "config.json").read_text())
    document["trunk"] |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (where / "config.json").write_text(json.dumps(document))
    return where
