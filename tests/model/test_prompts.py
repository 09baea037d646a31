"""Named tasks, prefixes and prefix dropout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.content import Content, image
from model.errors import ConfigError, ContentError
from model.prompts import E5, GEMINI, STYLES, drop_prefixes, prefix_of, prompted_parts
from model.unified.config import UnifiedConfig


def seen(content: Content, prompts: dict[str, str]) -> str | None:
    return prompted_parts(content, prompts)[0].text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Content.of("red fox", task="query"), "task: search result | query: red fox"),
        (Content.of("1 + 1 = 2", task="fact_checking"), "task: fact checking | query: 1 + 1 = 2"),
        (Content.of("sort a list", task="code_retrieval"), "task: code retrieval | query: sort a list"),
        (Content.of("a", task="sentence_similarity"), "task: sentence similarity | query: a"),
        (Content.of("who?", task="question_answering"), "task: question answering | query: who?"),
        (Content.of("a", task="classification"), "task: classification | query: a"),
        (Content.of("a", task="clustering"), "task: clustering | query: a"),
        (Content.of("Foxes are.", task="document"), "title: none | text: Foxes are."),
        (Content.of("Foxes are.", task="document", title="Fox"), "title: Fox | text: Foxes are."),
        (Content.of("odd", task="document", title="{title}"), "title: {title} | text: odd"),
        (Content.of("red fox"), "red fox"),
    ],
)
def test_gemini_prefixes_are_those_of_its_guide(content: Content, expected: str) -> None:
    assert seen(content, GEMINI) == expected


def test_the_default_is_that_of_the_trunk() -> None:
    config = UnifiedConfig(trunk={})
    assert config.prompts == {"query": "query: ", "document": "passage: "}
    assert seen(Content.of("fox", task="document"), config.prompts) == "passage: fox"


def test_a_style_is_stored_spelled_out() -> None:
    config = UnifiedConfig.parse({"trunk": {}, "prompts": "gemini"})
    assert config.prompts == GEMINI
    assert UnifiedConfig.parse(config.model_dump_json()) == config
    with pytest.raises(ConfigError, match="one of \\['e5', 'gemini'\\]"):
        UnifiedConfig.parse({"trunk": {}, "prompts": "bert"})


def test_every_style_knows_query_and_document() -> None:
    assert all({"query", "document"} <= set(prompts) for prompts in STYLES.values())


def test_media_take_no_prefix() -> None:
    picture = Content.of(image(b"x"), "turned", task="query")
    assert prompted_parts(picture, GEMINI) == picture.parts


def test_unknown_tasks_and_unused_titles_are_refused() -> None:
    with pytest.raises(ContentError, match="knows: document, query") as unknown:
        prefix_of(Content.of("a", task="clustering"), E5)
    assert unknown.value.code == "unknown_task"
    for content, prompts in ((Content.of("a", title="t"), GEMINI), (Content.of("a", task="document", title="t"), E5)):
        with pytest.raises(ContentError) as unused:
            prefix_of(content, prompts)
        assert unused.value.code == "title_unused"


def test_title_is_part_of_the_identity() -> None:
    plain, titled = Content.of("a", task="document"), Content.of("a", task="document", title="t")
    assert plain.digest != titled.digest


@given(st.integers(0, 2**31), st.integers(0, 10**6), st.integers(0, 1), st.floats(0, 1))
def test_dropout_is_a_function_of_seed_and_step(seed: int, step: int, side: int, rate: float) -> None:
    contents = [Content.of(str(i), task="query") for i in range(20)]
    once, again = (drop_prefixes(contents, rate, seed=seed, step=step, side=side) for _ in range(2))
    assert once == again
    assert [c.parts for c in once] == [c.parts for c in contents]


def test_dropout_has_its_rate_and_differs_by_step_and_side() -> None:
    contents = [Content.of(str(i), task="query") for i in range(4000)]

    def dropped(rate: float, **key: int) -> np.ndarray:
        return np.array(
            [c.task is None for c in drop_prefixes(contents, rate, **{"seed": 1, "step": 2, "side": 0} | key)]
        )

    assert abs(dropped(0.25).mean() - 0.25) < 0.03
    assert not dropped(0.0).any()
    assert dropped(1.0).all()
    assert (dropped(0.25) != dropped(0.25, side=1)).any()
    assert (dropped(0.25) != dropped(0.25, step=3)).any()
