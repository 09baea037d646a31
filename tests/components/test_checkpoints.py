"""Names of checkpoint directories and digests of the code follow content, and nothing else."""

from pathlib import Path

import pytest

from components.checkpoints import checkpoint_directory
from components.source import checkout, source_digest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "dataset.json").write_text('{"digest": "a"}')
    return folder


def test_same_inputs_elsewhere_give_the_same_directory(tmp_path: Path, dataset: Path) -> None:
    before = checkpoint_directory(tmp_path, "train", "{}", dataset)
    moved = dataset.rename(tmp_path / "moved")
    assert checkpoint_directory(tmp_path, "train", "{}", moved) == before
    assert before.parent == tmp_path / "checkpoints"


def test_other_configuration_or_content_gives_another_directory(tmp_path: Path, dataset: Path) -> None:
    before = checkpoint_directory(tmp_path, "train", "{}", dataset)
    assert checkpoint_directory(tmp_path, "train", '{"a":1}', dataset) != before
    (dataset / "dataset.json").write_text('{"digest": "b"}')
    assert checkpoint_directory(tmp_path, "train", "{}", dataset) != before


def test_directory_without_identity_is_named_by_its_listing(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"12")
    before = checkpoint_directory(tmp_path, "train", "{}", folder)
    (folder / "b.bin").write_bytes(b"1")
    assert checkpoint_directory(tmp_path, "train", "{}", folder) != before


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("model/a.py", "data/b.py", "serving/c.py", "components/s.py", "components/train/run.py"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    return tmp_path / "tree"


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ("model/a.py", True),
        ("data/b.py", True),
        ("components/s.py", True),
        ("components/train/run.py", True),
        ("requirements.lock", True),
        ("serving/c.py", False),
        ("components/gate.txt", False),
    ],
)
def test_digest_follows_the_code_of_the_step(tree: Path, changed: str, differs: bool) -> None:
    before = source_digest("train", tree)
    (tree / changed).write_text("x = 2\n")
    assert (source_digest("train", tree) != before) is differs


def test_digest_of_the_checkout_is_stable() -> None:
    assert (checkout() / "components" / "source.py").is_file()
    assert source_digest("train") == source_digest("train")
    assert source_digest("train") != source_digest("features")
