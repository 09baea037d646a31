"""Clips: find the object among all clips, the motion among the clips of one object, and the caption of a clip.

Record ids are ``motion/<concept>/<motion>/<language>``.
"""

from data.benchmarks.base import Benchmark, language, source, source_and_language
from data.records import Record
from model.errors import DataError


def concept(record: Record) -> str:
    """The object of a clip, from the record id."""
    parts = record.id.split("/")
    if len(parts) != 4:
        raise DataError(f"motion record id {record.id!r} is not motion/<concept>/<motion>/<language>")
    return parts[1]


TEXT_TO_VIDEO_OBJECT = Benchmark(
    name="text_to_video_object",
    title="Text → clip: object",
    category="t2v",
    record_task="text_to_video",
    sources=("motion",),
    subset=source_and_language,
    pool=source,
    same=concept,
)

TEXT_TO_VIDEO_MOTION = Benchmark(
    name="text_to_video_motion",
    title="Text → clip: motion among the clips of the object",
    category="t2v",
    record_task="text_to_video",
    sources=("motion",),
    subset=source_and_language,
    pool=source,
    choices=concept,
)

VIDEO_TO_TEXT = Benchmark(
    name="video_to_text",
    title="Clip → text",
    category="v2t",
    record_task="text_to_video",
    sources=("motion",),
    subset=lambda record: source_and_language(record) if language(record) == "en" else "",
    pool=source_and_language,
    reverse=True,
)
