"""A corpus of eight pairs of a word and a picture."""

from pathlib import Path

import pytest

from data.records import PartRef, Record
from data.shards import write_shard
from model.content import Modality, media_digest
from tests.conftest import make_png

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
