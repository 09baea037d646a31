import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data.importing import config as config_module
from data.importing.config import CONVENTIONS, ImportConfig
from data.importing.mapping import Value
from data.importing.readers.open import READERS
from model.errors import ConfigError
from tests.data.importing.conftest import TEXT_MAPPING

EXAMPLES = Path(config_module.__file__).parent / "examples"


def test_every_kind_has_a_reader() -> None:
    kinds = {
        branch.model_fields["kind"].annotation.__args__[0]
        for branch in ImportConfig.model_fields["source"].annotation.__args__
    }
    assert kinds == READERS.keys()
    assert CONVENTIONS.keys() <= kinds


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        ImportConfig.parse(
            {
                "name": "My Pets",
                "source": {"kind": "csv", "path": "x.csv", "delimiter": ";;"},
                "mapping": {**TEXT_MAPPING, "query": [{"modality": "text"}], "languages": ["Englisch"], "licence": "x"},
                "places": {"schemes": ["https"]},
            }
        )
    message = str(error.value)
    for path in ("name", "source.csv.delimiter", "mapping.query.0", "mapping.licence", "places"):
        assert f"  {path}:" in message
    assert "exactly one of column and template" in message
    assert "schemes and hosts go together" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"languages": ["Englisch"]}, "no BCP-47 tag"),
        ({"group": "all"}, "one split"),
        ({"id": "one"}, "same id"),
        ({"group": {"template": "{a"}}, "braces do not pair"),
        ({"group": {"template": "fixed"}}, "names no column"),
        ({"group": {"column": "a", "template": "{a}"}}, "column and template"),
        ({"query": []}, "at least 1"),
        ({"query": [{"modality": "smell", "column": "a"}]}, "'text', 'image'"),
    ],
)
def test_mapping_says_what_is_wrong(change: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ImportConfig.parse(
            {"name": "x", "source": {"kind": "jsonl", "path": "x"}, "mapping": {**TEXT_MAPPING, **change}}
        )


def test_a_convention_needs_little_and_can_be_overridden() -> None:
    source = {"kind": "ljspeech", "path": "LJSpeech-1.1"}
    mapping = {"task": "speech_to_text", "license": "CC0-1.0", "languages": ["en"]}
    config = ImportConfig.parse({"name": "lj", "source": source, "mapping": mapping})
    assert config.mapping.query[0].template == "wavs/{id}.wav"
    assert config.mapping.positives[0][0].column == "normalized"
    other = {**mapping, "positives": [[{"modality": "text", "column": "text"}]]}
    assert (
        ImportConfig.parse({"name": "lj", "source": source, "mapping": other}).mapping.positives[0][0].column == "text"
    )


def test_one_list_of_parts_is_one_content() -> None:
    parts = [{"modality": "text", "column": "a"}, {"modality": "text", "column": "b"}]
    config = ImportConfig.parse(
        {"name": "x", "source": {"kind": "jsonl", "path": "x"}, "mapping": {**TEXT_MAPPING, "positives": parts}}
    )
    assert len(config.mapping.positives) == 1
    assert len(config.mapping.positives[0]) == 2


def test_pieces_with_media_are_smaller() -> None:
    source = {"kind": "jsonl", "path": "x"}
    texts = ImportConfig.parse({"name": "x", "source": source, "mapping": TEXT_MAPPING})
    media = {**TEXT_MAPPING, "query": [{"modality": "image", "column": "q"}]}
    assert ImportConfig.parse({"name": "x", "source": source, "mapping": media}).piece_rows < texts.piece_rows


@given(st.text())
def test_a_template_is_taken_or_refused_never_run(template: str) -> None:
    try:
        Value(template=template)
    except ValueError:
        return
    assert "{" in template


def test_required_columns_leave_out_what_may_be_missing() -> None:
    mapping = {
        **TEXT_MAPPING,
        "query": [{"modality": "text", "column": "q"}, {"modality": "image", "column": "i", "optional": True}],
        "negatives": [[{"modality": "text", "column": "n"}]],
        "license": {"column": "l", "default": "CC0-1.0"},
        "group": {"template": "{a}/{b.c}"},
    }
    config = ImportConfig.parse({"name": "x", "source": {"kind": "jsonl", "path": "x"}, "mapping": mapping})
    assert config.mapping.required == {"q", "p", "a", "b.c"}
    assert config.mapping.columns == {"q", "p", "i", "n", "l", "a", "b.c"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path) -> None:
    config = ImportConfig.parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert config.mapping.has_media


def test_the_guide_has_the_examples() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "import.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    names = {ImportConfig.parse(yaml.safe_load(block)).name for block in blocks}
    assert names == {yaml.safe_load(path.read_text())["name"] for path in EXAMPLES.glob("*.yaml")}
