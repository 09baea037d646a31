"""Spoken captions: find the written caption, or the picture that it describes."""

from data.benchmarks.base import Benchmark, language, source, source_and_language

SPEECH_TO_TEXT = Benchmark(
    name="speech_to_text",
    title="Speech → caption",
    category="a2t",
    record_task="speech_to_text",
    sources=("stamps-speech",),
    subset=source_and_language,
    pool=language,
)

SPEECH_TO_IMAGE = Benchmark(
    name="speech_to_image",
    title="Speech → picture",
    category="a2i",
    record_task="speech_to_image",
    sources=("stamps-speech",),
    subset=source_and_language,
    pool=source,
    same_answer_in="speech_to_text",
)
