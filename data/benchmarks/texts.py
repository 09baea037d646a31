"""Text only: translations in both directions, headings and their passages, docstrings and their functions."""

from data.benchmarks.base import Benchmark, source, source_and_language
from data.records import Record


def _pair(record: Record) -> str:
    return "-".join(record.languages)


def _reversed_pair(record: Record) -> str:
    return "-".join(reversed(record.languages))


BITEXT = Benchmark(
    name="bitext",
    title="Sentence → its translation",
    category="t2t",
    record_task="bitext",
    sources=("libreoffice-bitext",),
    subset=_pair,
    pool=_pair,
    kind="bitext",
)

BITEXT_BACK = Benchmark(
    name="bitext_back",
    title="Translation → its sentence",
    category="t2t",
    record_task="bitext",
    sources=("libreoffice-bitext",),
    subset=_reversed_pair,
    pool=_pair,
    reverse=True,
    kind="bitext",
)

HEADING_TO_PASSAGE = Benchmark(
    name="heading_to_passage",
    title="Heading → passage",
    category="t2t",
    record_task="heading_to_passage",
    sources=("libreoffice-help",),
    subset=source_and_language,
    pool=source_and_language,
)

DOCSTRING_TO_CODE = Benchmark(
    name="docstring_to_code",
    title="Docstring → function",
    category="t2t",
    record_task="docstring_to_code",
    sources=("python-stdlib",),
    subset=source,
    pool=source,
)
