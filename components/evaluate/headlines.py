"""The few numbers that people compare: which tasks and subsets each is the mean of."""

from collections.abc import Callable
from dataclasses import dataclass

from data.benchmarks.pictures import ALL_LANGUAGES_OF, TRAINING_ARTISTS, UNSEEN_ARTIST


@dataclass(frozen=True)
class Headline:
    """A mean over subsets of one metric.

    Attributes:
        title: what a reader sees.
        tasks: tasks whose subsets count.
        metric: ``hit_at_1``, ``hit_at_10`` or ``ndcg_at_10``.
        includes: which subsets count.
        by_language: also give one number per language, as ``name/<language>``.
    """

    title: str
    tasks: tuple[str, ...]
    metric: str
    includes: Callable[[str], bool] = lambda _: True
    by_language: bool = False


_KNOWN_ARTISTS = frozenset(f"{artist}/en" for artist in TRAINING_ARTISTS)


def _foreign(subset: str) -> bool:
    return subset.startswith(f"{ALL_LANGUAGES_OF}/") and not subset.endswith("/en")


HEADLINES: dict[str, Headline] = {
    "text_to_image_hit_at_10": Headline(
        "Text → picture, known artists", ("text_to_image",), "hit_at_10", _KNOWN_ARTISTS.__contains__
    ),
    "text_to_image_unseen_artist_hit_at_10": Headline(
        "Text → picture, unseen artist", ("text_to_image",), "hit_at_10", f"{UNSEEN_ARTIST}/en".__eq__
    ),
    "text_to_image_multilingual_hit_at_10": Headline(
        "Text → picture, other languages", ("text_to_image",), "hit_at_10", _foreign, by_language=True
    ),
    "image_to_text_hit_at_10": Headline(
        "Picture → text, known artists", ("image_to_text",), "hit_at_10", _KNOWN_ARTISTS.__contains__
    ),
    "stamps_text_to_image_hit_at_10": Headline(
        "Caption → stamp", ("text_to_image",), "hit_at_10", lambda subset: subset.startswith("stamps/")
    ),
    "composed_to_image_hit_at_10": Headline("Picture + text → picture", ("composed_to_image",), "hit_at_10"),
    "speech_to_text_hit_at_10": Headline("Speech → caption", ("speech_to_text",), "hit_at_10", by_language=True),
    "speech_to_image_hit_at_10": Headline("Speech → picture", ("speech_to_image",), "hit_at_10"),
    "text_to_video_object_hit_at_10": Headline("Text → clip: object", ("text_to_video_object",), "hit_at_10"),
    "text_to_video_motion_hit_at_1": Headline("Text → clip: motion", ("text_to_video_motion",), "hit_at_1"),
    "video_to_text_hit_at_10": Headline("Clip → text", ("video_to_text",), "hit_at_10"),
    "bitext_hit_at_1": Headline("Sentence ↔ translation", ("bitext", "bitext_back"), "hit_at_1"),
    "heading_to_passage_hit_at_10": Headline("Heading → passage", ("heading_to_passage",), "hit_at_10"),
    "docstring_to_code_hit_at_10": Headline("Docstring → function", ("docstring_to_code",), "hit_at_10"),
}
