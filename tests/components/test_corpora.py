"""A run's corpus is a directory or a pinned version; the version stays named all the way to the tracking store."""

import io
import json
from pathlib import Path

import pytest

from components.corpora import corpus_digest, find_corpus, pin_corpus
from components.environment import Environment
from components.tracking import client_for, step_run
from components.validate.config import ValidateConfig
from components.validate.run import run
from components.validate.track import track
from data.versioning import directory_md5
from data.versions.repository import add, push
from model.errors import DataError
from tests.data.versions.conftest import Git, corpus, git, write_source  # noqa: F401


def picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").save(file, "png")
    return file.getvalue()


@pytest.fixture
def tagged(corpus: Path, git: Git, tmp_path: Path) -> str:  # noqa: F811
    write_source(corpus, "birds", {"owl": "a bird"})
    write_source(corpus, "tools", {"saw": "it cuts", "pen": "it writes"}, picture=picture())
    made = add(corpus)
    push(corpus, to=str(tmp_path / "remote"))
    git("add", *made.commit)
    git("commit", "-qm", "first")
    git("tag", "v1")
    return f"dvc://{corpus.parents[1]}#data/mine@v1"


def test_a_directory_is_taken_as_it_is(corpus: Path) -> None:  # noqa: F811
    assert find_corpus(str(corpus)) == corpus
    pinned = pin_corpus(str(corpus))
    assert (pinned.name, pinned.digest) == (str(corpus), corpus_digest(corpus))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dvc://REPOSITORY#PATH@REVISION"):
        find_corpus(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \*\.parquet"):
        find_corpus(str(tmp_path / "empty"))


def test_pinning_fetches_nothing_and_ties_to_the_commit(tagged: str, git: Git, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("OMNIVEC_HOME", str(tmp_path / "home"))
    pinned = pin_corpus(tagged)
    assert pinned.name == tagged.replace("@v1", f"@{git('rev-parse', 'v1')}")
    assert not (tmp_path / "home").exists()
    assert pin_corpus(f"{tagged}?sources=tools").digest != pinned.digest
    assert pin_corpus(pinned.name) == pinned


def test_validated_and_tracked_with_remote_revision_and_digest(tagged: str, git: Git, tmp_path: Path) -> None:  # noqa: F811
    pinned = pin_corpus(tagged)
    folder = find_corpus(f"{pinned.name}?sources=tools", tmp_path / "home")
    assert [path.name for path in folder.iterdir()] == ["tools.parquet"]
    places = {name: tmp_path / "out" / name for name in ("dataset", "quarantine")}
    report = tmp_path / "out" / "report.html"
    assert run(ValidateConfig(), corpus=folder, report=report, **places)["rows"] == 2
    environment = Environment.local(tmp_path / "home")
    with step_run("validate", environment) as tracked:
        facts = track(tracked, f"{pinned.name}?sources=tools", pinned.digest, report=report, **places)
    assert facts["dvc"]["revision"] == git("rev-parse", "v1")
    (given,) = client_for(environment).get_run(tracked.id).inputs.dataset_inputs
    tags = {tag.key: tag.value for tag in given.tags}
    assert tags["dvc_revision"] == git("rev-parse", "v1")
    assert tags["dvc_remote"] == f"file://{tmp_path}/remote" == json.loads(given.dataset.source)["uri"]
    assert tags["dvc_md5"] == directory_md5(folder)[0]
    assert tags["dvc_reference"] == f"{pinned.name}?sources=tools"
    assert f"fetched from file://{tmp_path}/remote" in report.read_text()


@pytest.mark.parametrize(
    ("remote", "kind"), [("s3://bucket/x", "S3"), ("gs://bucket/x", "GCS"), ("https://h/x", "HTTP")]
)
def test_mlflow_opens_the_sources_that_are_logged(tmp_path: Path, remote: str, kind: str) -> None:
    from mlflow.data.dataset_source_registry import get_dataset_source_from_json

    environment = Environment.local(tmp_path)
    with step_run("validate", environment) as tracked:
        tracked.dataset(remote, "0" * 16)
    (given,) = client_for(environment).get_run(tracked.id).inputs.dataset_inputs
    source = get_dataset_source_from_json(given.dataset.source, given.dataset.source_type)
    assert type(source).__name__.startswith(kind)
