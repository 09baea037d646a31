"""Stored probes come back as they were, and never for bytes, limits or a version they were not made of."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.probe_store as store
from data.probe_store import MEDIA, TEXTS, probes_of, read_probes, sidecar, write_probes
from data.probes import Probe
from data.probing import Unreadable, probe_shards
from data.shards import shard_paths, write_shard
from data.text_probes import TextProbe, probe_text
from model.content import Modality, media_digest
from model.encoder import Limits
from tests.conftest import benchmark_records, make_png

LIMITS = Limits()
WORDS = st.integers(0, 2**64 - 1)
OPTIONAL = st.none() | st.integers(0, 2**31 - 1)
PROBES = st.builds(
    Probe,
    digest=st.text("0123456789abcdef", min_size=32, max_size=32),
    modality=st.sampled_from(["image", "audio", "hologram"]),
    size=st.integers(0, 2**40),
    code=st.none() | st.sampled_from(["image_truncated", "audio_silent"]),
    message=st.text(st.characters(codec="utf-8")),
    width=OPTIONAL,
    height=OPTIONAL,
    seconds=st.none() | st.floats(0, 1e6),
    blank=st.booleans(),
    finite=st.none() | st.booleans(),
    hashes=st.lists(WORDS, max_size=26).map(tuple),
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two shards with pictures, sounds, clips and texts."""
    records, media = benchmark_records()
    for source in ("emoji-noto", "stamps-speech"):
        own = [r for r in records if r.source == source]
        used = {p.media for r in own for c in (r.query, *r.positives) for p in c if p.media}
        write_shard(tmp_path / f"{source}.parquet", own, {d: media[d] for d in used})
    return tmp_path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    write_shard(root / "s.parquet", [], {})
    return root


@settings(deadline=None, max_examples=40)
@given(probes=st.lists(PROBES, max_size=5), texts=st.lists(st.text(), max_size=5))
def test_probes_come_back(probes: list[Probe], texts: list[str], place: Path) -> None:
    found = [probe_text(text) for text in texts]
    write_probes(place, place / "s.parquet", probes, found, limits=LIMITS)
    (back,) = read_probes(place, limits=LIMITS)
    assert back.probes() == probes
    assert back.media.schema == MEDIA
    assert back.texts.schema == TEXTS
    assert back.texts.column("digest").to_pylist() == [text.digest for text in found]
    assert back.texts.column("controls").to_pylist() == [text.controls for text in found]


def test_columns_are_those_of_the_probes() -> None:
    assert tuple(Probe.__slots__) == tuple(MEDIA.names)
    assert tuple(TextProbe.__slots__) == tuple(TEXTS.names)


def test_made_probes_are_reused(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list(probe_shards(corpus, shard_paths(corpus), LIMITS))
    for found in made:
        assert not isinstance(found, Unreadable)
        store.write_tables(corpus, found, limits=LIMITS)

    def never(*_: object) -> None:
        raise AssertionError("probed again")

    monkeypatch.setattr("data.probing.probe_media", never)
    monkeypatch.setattr("data.probing.probe_texts", never)
    again = list(probe_shards(corpus, shard_paths(corpus), LIMITS))
    for first, second in zip(made, again, strict=True):
        assert first.media.to_pylist() == second.media.to_pylist()
        assert first.texts.to_pylist() == second.texts.to_pylist()
    with pytest.raises(AssertionError, match="probed again"):
        list(probe_shards(corpus, shard_paths(corpus), Limits(max_media_bytes=1)))


def test_stale_sidecars_are_ignored(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = place / "s.parquet"
    write_probes(place, shard, [Probe("0" * 32, "image", 3)], limits=LIMITS)
    assert probes_of(place, shard, limits=LIMITS)
    assert probes_of(place, shard)
    assert probes_of(place, shard, limits=Limits(max_media_bytes=1)) is None
    monkeypatch.setattr(store, "PROBE_VERSION", store.PROBE_VERSION + 1)
    assert probes_of(place, shard, limits=LIMITS) is None
    monkeypatch.undo()
    picture = make_png()
    write_shard(shard, [], {media_digest(picture): (Modality.IMAGE, picture)})
    assert probes_of(place, shard, limits=LIMITS) is None


@pytest.mark.parametrize("junk", [b"", b"PAR1", b"PAR1 and something else PAR1"])
def test_damaged_sidecars_are_ignored(junk: bytes, place: Path) -> None:
    shard = place / "s.parquet"
    write_probes(place, shard, [], limits=LIMITS)
    sidecar(place, shard).write_bytes(junk)
    assert probes_of(place, shard, limits=LIMITS) is None
    pq.write_table(pq.read_table(shard), sidecar(place, shard))
    assert probes_of(place, shard, limits=LIMITS) is None


def test_a_sidecar_without_texts_gets_them(corpus: Path) -> None:
    whole = list(probe_shards(corpus, shard_paths(corpus), LIMITS))
    for found in whole:
        write_probes(corpus, found.shard, found.probes(), limits=LIMITS)
    again = list(probe_shards(corpus, shard_paths(corpus), LIMITS))
    assert [f.texts.to_pylist() for f in again] == [f.texts.to_pylist() for f in whole]


def test_sidecars_are_no_shards(corpus: Path) -> None:
    names = [path.name for path in shard_paths(corpus)]
    write_probes(corpus, corpus / names[0], [], limits=LIMITS)
    assert [path.name for path in shard_paths(corpus)] == names
