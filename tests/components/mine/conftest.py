"""A corpus of words, pictures and sentences, where some records have several right answers."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.records import PartRef, Record
from data.shards import write_shard
from model.content import Modality, media_digest
from tests.conftest import make_png
from tests.data.mining.toy import record, words

NAMES = ("cat", "dog", "sun", "tree", "boat", "car", "fish", "hat", "tea", "owl")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards: captions with two pictures each, and headings with passages; a tenth is for testing."""
    directory = tmp_path_factory.mktemp("minable")
    pictures: list[Record] = []
    texts: list[Record] = []
    media = {}
    for i, name in enumerate(NAMES):
        split = "test" if name == "owl" else "train"
        for j in range(2):
            data = make_png(2 * i + j)
            media[media_digest(data)] = (Modality.IMAGE, data)
            ref = (PartRef(Modality.IMAGE, media=media_digest(data)),)
            row = record(f"{name}/{j}", name, [], name, task="text_to_image", source="pictures", split=split)
            pictures.append(replace(row, positives=(ref,)))
        row = record(f"{name}/text", f"all about the {name}", [f"a {name} is what you see here"], name, split=split)
        texts.append(replace(row, task="heading_to_passage", source="texts"))
    texts[0] = replace(texts[0], negatives=(words("an old negative"),))
    write_shard(directory / "pictures.parquet", pictures, media)
    write_shard(directory / "texts.parquet", texts, {})
    return directory
