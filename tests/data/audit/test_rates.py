"""Of distinct media hardly any are called near-duplicates, and of near-copies hardly any are missed; in every modality.

The figures of ``docs/guides/audit.md`` are of the same media in larger numbers.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from data.audit.audit import audit
from data.audit.rules import AuditRules
from tests.data.audit.media_makers import (
    altered_clips,
    altered_scans,
    altered_sounds,
    altered_texts,
    bill,
    one_word_apart,
    page_texts,
    picture_pdf,
    scanned,
    spoken,
    starter_media,
    text_pdf,
)
from tests.data.audit.test_audit import Corpus

pytestmark = pytest.mark.minutes
ALARMS = 0.01


class Rates(NamedTuple):
    """Distinct media that are in a pair with another one, and near-copies that are in none with theirs."""

    alarms: set[str]
    missed: set[str]


def rates(corpus: Path, modality: str, distinct: Mapping[str, bytes], copies: Mapping[str, dict[str, bytes]]) -> Rates:
    """Audit media, each in a record, a group and a split of its own."""
    made = Corpus()
    for number, (name, data) in enumerate(distinct.items()):
        made.add(name, modality, data, ("train", "test")[number % 2])
        for how, copy in copies.get(name, {}).items():
            made.add(f"{name}~{how}", modality, copy, ("train", "test")[number % 2])
    found = audit(made.write(corpus), AuditRules(), corpus / "scratch").findings
    alarms, met = set(), set()
    for pair in found.pairs:
        names = [found.records.name(record) for record in pair.records]
        of = {name.split("~")[0] for name in names}
        if len(of) > 1:
            alarms |= of
        else:
            met |= {name for name in names if "~" in name}
    return Rates(alarms, {f"{name}~{how}" for name, ways in copies.items() for how in ways} - met)


def check(found: Rates, distinct: int, copies: int, least: float = 1.0) -> None:
    print(f"{len(found.alarms)} of {distinct} alarms, {len(found.missed)} of {copies} missed: {sorted(found.missed)}")
    assert len(found.alarms) <= ALARMS * distinct, sorted(found.alarms)
    assert len(found.missed) <= (1 - least) * copies, sorted(found.missed)


def test_recordings_of_people(tmp_path: Path) -> None:
    distinct = starter_media("stamps-speech", "audio", 400)
    copies = {name: altered_sounds(data) for name, data in list(distinct.items())[::20]}
    check(rates(tmp_path / "c", "audio", distinct, copies), 400, 8 * len(copies), 0.97)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="speaks with espeak-ng: apt-get install espeak-ng")
def test_one_voice_that_says_nearly_the_same(tmp_path: Path) -> None:
    said = [text for pair in one_word_apart(60) for text in pair]
    distinct = {f"{number}": spoken(text) for number, text in enumerate(said)}
    distinct |= {f"{number} faster": spoken(said[number], speed=200) for number in range(0, 40, 2)}
    distinct |= {f"{number} higher": spoken(said[number], "en+f3") for number in range(0, 40, 2)}
    copies = {name: altered_sounds(data) for name, data in list(distinct.items())[::12]}
    check(rates(tmp_path / "c", "audio", distinct, copies), len(distinct), 8 * len(copies), 0.97)


def test_clips(tmp_path: Path) -> None:
    distinct = starter_media("motion", "video", 300)
    copies = {name: altered_clips(data) for name, data in list(distinct.items())[::15]}
    check(rates(tmp_path / "c", "video", distinct, copies), 300, 4 * len(copies))


def test_pages_of_text_and_forms(tmp_path: Path) -> None:
    pages = {f"page {number}": text for number, text in enumerate(page_texts(40))}
    pages |= {f"bill {number}": bill(number) for number in range(100)}
    copies = {name: altered_texts(text) for name, text in list(pages.items())[::14]}
    distinct = {name: text_pdf(text) for name, text in pages.items()}
    check(rates(tmp_path / "c", "document", distinct, copies), len(distinct), 2 * len(copies))


def test_scanned_pages(tmp_path: Path) -> None:
    pages = {f"{number}": scanned(text) for number, text in enumerate(page_texts(40))}
    copies = {name: altered_scans(page) for name, page in list(pages.items())[:5]}
    distinct = {name: picture_pdf(page, 100) for name, page in pages.items()}
    check(rates(tmp_path / "c", "document", distinct, copies), len(distinct), 7 * len(copies))
