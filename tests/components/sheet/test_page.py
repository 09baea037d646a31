"""The sheet shows every modality, runs no foreign script and needs no other file."""

import base64
import html.parser
import io
import json
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.sheet.assets import SCRIPT
from components.sheet.page import sheet_page
from data.sheet.sample import draw
from model.content import Modality
from model.encoder import Limits
from tests.data.sheet_corpus import HOSTILE, record, text, write_corpus
from tests.serving.browser import find_browser

CHROMIUM = find_browser()


class Reader(html.parser.HTMLParser):
    """Collects elements and what they hold."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"))
    return sheet_page(draw(folder, 100), "<i>mine</i>", limits=Limits(), megabytes=5)


def test_every_modality_is_shown(document: str) -> None:
    page = Reader(document)
    assert len(page.named("article")) == 45
    assert len(page.named("audio")) == 1
    assert len(page.named("video")) == 1
    kinds = [str(image["class"]) for image in page.named("img")]
    assert (kinds.count("picture"), kinds.count("strip"), kinds.count("moving")) == (12, 2, 1)
    assert {"unseen"} == {a["class"] for a in page.named("div") if a.get("class") == "unseen"} | {"unseen"}


def test_thumbnails_and_sounds_decode(document: str) -> None:
    from PIL import Image

    from model.media.audio import decode_audio

    page = Reader(document)
    for attributes in page.named("img"):
        kind, data = re.fullmatch(r"data:(image/\w+);base64,(.*)", str(attributes["src"])).groups()
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert picture.get_format_mimetype() == kind
            assert max(picture.size) <= 6 * 88
    sound = str(page.named("audio")[0]["src"]).partition("base64,")[2]
    assert len(decode_audio(base64.b64decode(sound), Limits())) == 8000


def test_hostile_captions_stay_text(document: str) -> None:
    page = Reader(document)
    assert [a for tag, a in page.elements if tag == "script"] == [{}]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not page.named("iframe") + page.named("a") + page.named("b") + page.named("i")
    shown = "".join(page.texts)
    for words in HOSTILE[:4]:
        assert words in shown
    assert document.count("<script>") == 1


def test_the_page_needs_nothing_else_and_allows_only_its_own_script(document: str) -> None:
    import hashlib

    page = Reader(document)
    addresses = [a[k] for _, a in page.elements for k in ("src", "href", "poster", "action") if a.get(k)]
    assert addresses
    assert all(str(address).startswith("data:") for address in addresses)
    policy = next(str(a["content"]) for a in page.named("meta") if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_a_budget_is_kept_and_said(tmp_path: Path) -> None:
    drawn = draw(write_corpus(tmp_path), 100)
    small = sheet_page(drawn, "mine", limits=Limits(), megabytes=0.002)
    media = sum(len(str(a.get("src") or "")) for _, a in Reader(small).elements)
    assert 0 < media < 3500
    assert "left out: the page is full" in small
    assert "media left out" in small


def test_what_cannot_be_decoded_is_described(tmp_path: Path) -> None:
    from data.records import PartRef
    from data.shards import write_shard
    from model.content import media_digest

    data = b"\x89PNG\r\n\x1a\n broken"
    part = (PartRef(Modality.IMAGE, media=media_digest(data)),)
    write_shard(
        tmp_path / "s.parquet", [record("s", "a", text("x"), part)], {media_digest(data): (Modality.IMAGE, data)}
    )
    page = sheet_page(draw(tmp_path, 5), "mine", limits=Limits(), megabytes=5)
    assert "image_" in page
    assert "89 50 4e 47" in page


def test_a_quarantine_shows_reasons_and_rows(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path)
    line = {"shard": "words.parquet", "kind": "record", "id": "words/w1", "reasons": ["text_empty"], "message": ""}
    (folder / "reasons.jsonl").write_text(json.dumps(line) + "\n")
    rows = {
        "row": [7],
        "raw": ['{"caption": "<script>x"}'],
        "reasons": [["file_missing"]],
        "message": ["no such file <b>"],
    }
    pq.write_table(pa.table(rows), folder / "rows-00000.parquet")
    document = sheet_page(draw(folder, 100), "mine", limits=Limits(), megabytes=5)
    page = Reader(document)
    assert "Refused: mine" in document
    assert {"text_empty", "file_missing"} <= {a["value"] for a in page.named("option")}
    assert 'data-reason="file_missing"' in document
    shown = "".join(page.texts)
    assert '{"caption": "<script>x"}' in shown
    assert "no such file <b>" in shown
    assert not page.named("b")


def test_records_that_make_no_sense_are_shown(tmp_path: Path) -> None:
    from data.shards import FORMAT, SCHEMA

    row = dict.fromkeys(SCHEMA.names) | {
        "kind": "record",
        "id": "x",
        "query": [{"modality": "smell", "text": None, "media": "0"}],
    }
    pq.write_table(pa.Table.from_pylist([row], SCHEMA.with_metadata(FORMAT)), tmp_path / "s.parquet")
    (tmp_path / "reasons.jsonl").write_text("")
    assert "has no medium 0" in sheet_page(draw(tmp_path, 5), "mine", limits=Limits(), megabytes=5)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_browser_runs_the_filters_and_nothing_else(document: str, tmp_path: Path) -> None:
    (tmp_path / "sheet.html").write_text(document, encoding="utf-8")

    def dump(fragment: str) -> str:
        command = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            "--enable-logging=stderr",
        ]
        address = f"{(tmp_path / 'sheet.html').as_uri()}{fragment}"
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=60, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        return done.stdout

    assert '<span id="count">45 of 45</span>' in dump("")
    filtered = dump("#source=pictures&words=picture+3")
    assert '<span id="count">1 of 45</span>' in filtered
    assert filtered.count('hidden=""') == 44
