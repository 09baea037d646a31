"""Task prefixes: named tasks, the styles that published models use, and the one place where a prefix meets a content.

A model's own mapping of task to prefix is stored in its artifact, so training, evaluation, ``omnivec embed`` and
serving cannot differ: each only names a task (``Content.task``).

Sources: E5, arXiv 2402.05672; Gemini Embedding 2 and EmbeddingGemma 2, model card and API guide.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from model.content import Content, Modality, Part
from model.errors import ContentError

QUERY, DOCUMENT = "query", "document"
TITLE = "{title}"
NO_TITLE = "none"

PromptStyle = Literal["e5", "gemini"]

# Those of the E5 trunk.
E5 = {QUERY: "query: ", DOCUMENT: "passage: "}
# Named task -> what follows "task: " in the prefix of the queries of Gemini Embedding 2 and EmbeddingGemma 2.
GEMINI_TASKS = {
    QUERY: "search result",
    "question_answering": "question answering",
    "fact_checking": "fact checking",
    "code_retrieval": "code retrieval",
    "classification": "classification",
    "clustering": "clustering",
    "sentence_similarity": "sentence similarity",
}
GEMINI = {
    **{name: f"task: {words} | query: " for name, words in GEMINI_TASKS.items()},
    DOCUMENT: f"title: {TITLE} | text: ",
}
STYLES: dict[PromptStyle, dict[str, str]] = {"e5": E5, "gemini": GEMINI}


def resolve_style(value: object) -> object:
    """The mapping that a style's name stands for, a fresh copy; anything else unchanged.

    Raises:
        ValueError: a name of no style.
    """
    if not isinstance(value, str):
        return value
    for name, prompts in STYLES.items():
        if name == value:
            return dict(prompts)
    raise ValueError(f"unknown prompt style {value!r}; give a mapping of task to prefix or one of {sorted(STYLES)}")


def prefix_of(content: Content, prompts: Mapping[str, str]) -> str:
    """What stands before the text of ``content`` in a model with these prompts; empty without a task.

    Raises:
        ContentError: ``unknown_task``, or ``title_unused`` when the task's prefix has no place for the title.
    """
    if content.task is not None and content.task not in prompts:
        known = ", ".join(sorted(prompts)) or "none"
        raise ContentError(f"unknown task {content.task!r}; this model knows: {known}", code="unknown_task")
    prefix = prompts[content.task] if content.task is not None else ""
    if content.title is not None and TITLE not in prefix:
        raise ContentError(
            f"the prefix of task {content.task!r} has no place for a title: put the title into the text, or use a "
            "model and task whose prefix has one",
            code="title_unused",
        )
    return prefix.replace(TITLE, content.title or NO_TITLE)


def prompted_parts(content: Content, prompts: Mapping[str, str]) -> tuple[Part, ...]:
    """The parts that a model sees: the prefix joins the first part when that is text; media take no prefix.

    Raises:
        ContentError: see :func:`prefix_of`.
    """
    prefix = prefix_of(content, prompts)
    first, *rest = content.parts
    if not prefix or first.modality is not Modality.TEXT:
        return content.parts
    return (Part(Modality.TEXT, text=prefix + (first.text or "")), *rest)


def drop_prefixes(contents: Sequence[Content], rate: float, *, seed: int, step: int, side: int) -> list[Content]:
    """Take the task from a share ``rate`` of the contents, so that a model also works where nobody names a task.

    Which ones depends on (seed, step, side, content) alone, so a resumed run drops the same, and so do several
    processes that share a batch. Each content is drawn on its own: were a whole batch or a pair to share its draw, a
    prefix would tell which document belongs to which query.

    Args:
        contents: one side of a training batch.
        rate: probability of a drop, 0 to 1.
        seed: of the stage.
        step: of the batch.
        side: 0 for queries, 1 for documents.
    """
    if rate == 0.0:
        return list(contents)
    loses = partial(loses_prefix, rate=rate, seed=seed, step=step, side=side)
    return [Content(c.parts) if c.task is not None and loses(c.digest) else c for c in contents]


def loses_prefix(digest: str, rate: float, *, seed: int, step: int, side: int) -> bool:
    """Whether :func:`drop_prefixes` takes the task from the content with this digest, in which the task counts."""
    return rate > 0.0 and _uniform(f"{seed} {step} {side} {digest}") < rate


def _uniform(name: str) -> float:
    """A number in [0, 1) that only ``name`` decides."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64
