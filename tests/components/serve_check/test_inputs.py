"""What the serving check sends: held-out contents, shifted contents, bad requests."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from components.serve_check.hostile import hostile_requests
from components.serve_check.parity import cosines, label
from components.serve_check.shift import SLOWER, shift_content
from components.serve_check.traffic import held_out, interleave, plan_traffic
from data.corpus import Corpus
from data.records import PartRef, Record, Split
from data.shards import write_shard
from model.content import Content, Modality, audio, image, media_digest, video
from model.errors import DataError


def _record(index: int, split: Split, picture: str) -> Record:
    return Record(
        id=f"r{index}",
        task="text_to_image",
        query=(PartRef(Modality.TEXT, text=f"{split} text {index}"),),
        positives=((PartRef(Modality.IMAGE, media=picture),),),
        negatives=(),
        source="unit",
        languages=("en",),
        license="CC0-1.0",
        group=f"g{index}",
        split=split,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    pictures = [f"{i}".encode() * 8 for i in range(4)]
    media = {media_digest(data): (Modality.IMAGE, data) for data in pictures}
    splits: list[Split] = ["test", "train"]
    records = [_record(i, splits[i % 2], media_digest(pictures[i % 4])) for i in range(40)]
    write_shard(tmp_path / "unit.parquet", records, media)
    return Corpus(tmp_path)


def test_only_distinct_contents_of_the_test_split_are_sent(corpus: Corpus) -> None:
    pools = held_out(corpus, 100)
    assert {kind: len(pool) for kind, pool in pools.items()} == {"text": 20, "image": 2}
    assert all((c.parts[0].text or "").startswith("test ") for c in pools["text"])


def test_the_sample_does_not_depend_on_row_order_but_on_the_seed(corpus: Corpus) -> None:
    first = held_out(corpus, 5)["text"]
    corpus.records.reverse()
    assert held_out(corpus, 5)["text"] == first
    assert held_out(corpus, 5, seed=1)["text"] != first


def test_comparison_and_windows_share_nothing(corpus: Corpus) -> None:
    traffic = plan_traffic(corpus, parity=4, window=6)
    groups = [{c.digest for c in part["text"]} for part in (traffic.parity, traffic.clean, traffic.shifted)]
    assert [len(group) for group in groups] == [4, 6, 6]
    assert len(set.union(*groups)) == 16
    assert [len(part["image"]) for part in (traffic.parity, traffic.clean, traffic.shifted)] == [1, 0, 0]


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    write_shard(tmp_path / "unit.parquet", [], {})
    with pytest.raises(DataError, match="no record in its test split"):
        held_out(Corpus(tmp_path), 5)


def test_requests_mix_kinds() -> None:
    a, b, c = (Content.of(x) for x in "abc")
    assert interleave({"x": [a, b], "y": [c]}) == [a, c, b]


def test_shifted_media_are_valid_and_clearly_different(png_bytes: bytes, ogg_bytes: bytes, mp4_bytes: bytes) -> None:
    content = Content.of("two words", image(png_bytes), audio(ogg_bytes), video(mp4_bytes), task="query")
    moved = shift_content(content, 3)
    assert moved == shift_content(content, 3)
    assert moved.task == "query"
    words, picture, sound, clip = moved.parts
    assert words.text is not None
    assert [len(w) for w in words.text.rstrip("!").split()] == [3, 5]
    assert words.text.isupper()
    assert words.text.endswith("!!!")
    before, after = (
        np.asarray(Image.open(io.BytesIO(d or b"")).convert("RGB"), float) for d in (png_bytes, picture.data)
    )
    assert before.shape == after.shape
    assert np.abs(before - after).mean() > 20
    old, new = (soundfile.info(io.BytesIO(d or b"")) for d in (ogg_bytes, sound.data))
    assert new.duration == pytest.approx(old.duration * SLOWER, rel=0.02)
    with av.open(io.BytesIO(clip.data or b"")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 12
    assert frames[0].mean() > 128, "a dark clip becomes light"


def test_every_bad_request_names_an_answer(png_bytes: bytes, ogg_bytes: bytes) -> None:
    samples = {"text": Content.of("a"), "image": Content.of(image(png_bytes)), "audio": Content.of(audio(ogg_bytes))}
    reads = frozenset({Modality.TEXT, Modality.IMAGE, Modality.AUDIO})
    found = {bad.name: bad for bad in hostile_requests(samples, {"items_per_request": 8}, reads)}
    assert {"remote_url", "truncated_image", "truncated_audio", "too_many_items", "unknown_model"} <= set(found)
    assert "truncated_video" not in found
    assert len(found["too_many_items"].body["input"]) == 9
    assert all(400 <= bad.status < 500 for bad in found.values())
    assert found["document"].status == 415, "pictures alone do not make a reader of documents"
    by_all = hostile_requests(samples, {"items_per_request": 8}, frozenset(Modality))
    assert next(bad.status for bad in by_all if bad.name == "document") == 422


def test_texts_are_compared_under_each_task_prefix_too() -> None:
    sent = label({"text": [Content.of("a")], "image": [Content.of(image(b"x"))]}, ("query",))
    assert sent.labels == ["text", "image", "text/query"]
    assert [c.task for c in sent.contents] == [None, None, "query"]


def test_cosines_see_a_wrong_vector() -> None:
    left = np.eye(3, dtype=np.float32)
    assert cosines(left, 2 * left).tolist() == [1, 1, 1]
    assert cosines(left, np.roll(left, 1, axis=0)).tolist() == [0, 0, 0]
