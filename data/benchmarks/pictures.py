"""Text and pictures in both directions: drawings by known artists, one unseen artist, stamps, composed queries."""

from data.benchmarks.base import Benchmark, language, source, source_and_language
from data.records import Record

TRAINING_ARTISTS = ("emoji-fluent", "emoji-noto", "emoji-twemoji")
UNSEEN_ARTIST = "emoji-openmoji"
ALL_LANGUAGES_OF = "emoji-noto"


def _names(record: Record) -> str:
    """Names of drawings in English for every artist, in all languages for one; keyword queries are left out."""
    if record.id.endswith("/keywords"):
        return ""
    wanted = language(record) == "en" or record.source == ALL_LANGUAGES_OF
    return source_and_language(record) if wanted else ""


def _caption_pool(record: Record) -> str:
    """Names compete within an artist and a language; keywords are no names."""
    return "" if record.id.endswith("/keywords") else source_and_language(record)


TEXT_TO_IMAGE = Benchmark(
    name="text_to_image",
    title="Text → picture",
    category="t2i",
    record_task="text_to_image",
    sources=(*TRAINING_ARTISTS, UNSEEN_ARTIST, "stamps"),
    subset=_names,
    pool=source,
)

IMAGE_TO_TEXT = Benchmark(
    name="image_to_text",
    title="Picture → text",
    category="i2t",
    record_task="text_to_image",
    sources=(*TRAINING_ARTISTS, UNSEEN_ARTIST, "stamps"),
    subset=lambda record: _names(record) if language(record) == "en" else "",
    pool=_caption_pool,
    reverse=True,
)

COMPOSED_TO_IMAGE = Benchmark(
    name="composed_to_image",
    title="Picture + text → picture",
    category="it2i",
    record_task="composed_to_image",
    sources=("interleaved",),
    subset=source_and_language,
    pool=source,
)
