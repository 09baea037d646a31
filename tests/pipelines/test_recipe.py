"""Overrides and recipe files, apart from what the sections mean."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import ConfigError
from pipelines.recipe import apply, names, read

KEY = st.text("abcdefgh", min_size=1, max_size=4)


def test_override_reaches_mappings_and_lists() -> None:
    document = {"stages": [{"kind": "align", "steps": 1}], "name": "x"}
    apply(document, "stages.0.steps=5")
    apply(document, "name=other")
    apply(document, "gate.rules.floor=0.45")
    apply(document, "data.languages=[en, de]")
    assert document == {
        "stages": [{"kind": "align", "steps": 5}],
        "name": "other",
        "gate": {"rules": {"floor": 0.45}},
        "data": {"languages": ["en", "de"]},
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.steps", "path=value"),
        ("=5", "path=value"),
        ("a..b=1", "path=value"),
        ("stages.1.steps=5", "position from 0 to 0"),
        ("stages.first.steps=5", "position from 0 to 0"),
        ("name.deeper=5", "single value"),
        ("name.deeper.still=5", "single value"),
    ],
)
def test_override_that_leads_nowhere_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply({"stages": [{"steps": 1}], "name": "x"}, override)


@given(path=st.lists(KEY, min_size=1, max_size=4), value=st.integers())
def test_override_puts_the_value_where_its_path_says(path: list[str], value: int) -> None:
    document: dict[str, object] = {}
    apply(document, f"{'.'.join(path)}={value}")
    node: object = document
    for key in path:
        assert isinstance(node, dict)
        node = node[key]
    assert node == value


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="quickstart"):
        read("nosuch")
    assert "debug" in names()


@pytest.mark.parametrize(("text", "message"), [("a: [1", "not valid YAML"), ("- 1\n", "mapping at the top")])
def test_broken_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(str(path))
