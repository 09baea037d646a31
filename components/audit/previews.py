"""Both sides of a pair as HTML: thumbnails, players, texts with what differs marked; bounded in bytes."""

import base64
import html
import io
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.access import MediaAccess
from data.audit.items import CODES
from data.audit.pairs import SPLITS
from data.audit.rules import KINDS
from data.scan import record_batches
from model.encoder import Limits
from model.errors import ContentError, DataError

if TYPE_CHECKING:
    from data.audit.audit import Audited
    from data.audit.pairs import Pair

SIDE = 96
FRAMES = 4
TEXT_LIMIT = 600
PLAYED_BYTES = 200_000
ROLES = ("query", "positives", "negatives")
TYPES = {b"OggS": "audio/ogg", b"RIFF": "audio/wav", b"fLaC": "audio/flac", b"ID3": "audio/mpeg"}
STYLE = "display:flex;gap:1rem;border-top:1px solid #dde3ea;padding:.6rem 0"
OMITTED = "<i>not shown: the page has enough pictures and sounds (shown_bytes)</i>"


class Previews:
    """Makes the sides of pairs; what no longer fits is named, not shown.

    Args:
        found: the audit.
        budget: bytes of all pictures and sounds together.
    """

    def __init__(self, found: "Audited", budget: int) -> None:
        self.found = found
        self.left = budget
        self.access = MediaAccess()

    def pair(self, pair: "Pair") -> str:
        """One pair: a line of facts, then its sides next to each other."""
        findings = self.found.findings
        fact = pair.match if pair.match != "near" else f"near, distance {pair.distance:.3g}"
        texts = [self._text(pair, place) for place in (0, 1)] if pair.kind == "text" else ["", ""]
        marked = _marked(*texts) if pair.kind == "text" else (self._media(pair, 0), self._media(pair, 1))
        cells = []
        for place in (0, 1):
            record = pair.records[place]
            name, group = findings.records.name(record), findings.records.group_names[findings.records.group[record]]
            outcome = self._outcome(record)
            head = f"<b>{SPLITS[pair.splits[place]]}</b> {html.escape(name)} <small>group {html.escape(group)}"
            count = pair.counts[place]
            more = f", one of {count} records" if count > 1 else ""
            cells.append(f"<div style=flex:1;min-width:0>{head}{more}{outcome}</small><br>{marked[place]}</div>")
        return f"<div><small>{fact}</small><div style='{STYLE}'>{''.join(cells)}</div></div>"

    def _outcome(self, record: int) -> str:
        verdicts, records = self.found.verdicts, self.found.findings.records
        if record in verdicts.refused:
            return ", <span class=bad>set aside</span>"
        if verdicts.split[record] != records.split[record]:
            return f", <b>moved to {SPLITS[verdicts.split[record]]}</b>"
        return ""

    def _text(self, pair: "Pair", place: int) -> str:
        """The text as it is in the record."""
        items, record = self.found.findings.items, pair.records[place]
        own = (items.parts["record"] == record) & (items.item == pair.items[place])
        if not own.any():  # the other item of the pair is the one in this record
            own = (items.parts["record"] == record) & np.isin(items.item, pair.items)
        at = items.parts[np.flatnonzero(own)[0]]
        row = self._row(record)
        same = items.parts[(items.parts["record"] == record) & (items.parts["role"] == at["role"])]
        same = same[same["kind"] < CODES["content"]]
        number = int(np.searchsorted(np.unique(same["content"]), at["content"]))
        content = row["query"] if ROLES[at["role"]] == "query" else row[ROLES[at["role"]]][number]
        return str(content[int(at["place"])]["text"])

    def _media(self, pair: "Pair", place: int) -> str:
        items, record = self.found.findings.items, pair.records[place]
        if pair.kind in ("content", "pair", "embedding") and pair.items[place] not in items.media:
            row = self._row(record)
            contents = [row["query"], *(row["positives"] or [])]
            return "<hr>".join("".join(self._part(record, part) for part in content) for content in contents)
        item = pair.items[place]
        return self._medium(pair.kind if pair.kind in _DRAWN else KINDS[items.kind[item]], record, items.media[item])

    def _part(self, record: int, part: dict[str, Any]) -> str:
        if part["media"] is None:
            return f"<p>{html.escape(str(part['text'])[:TEXT_LIMIT])}</p>"
        return self._medium(part["modality"], record, part["media"])

    def _medium(self, modality: str, record: int, digest: str) -> str:
        records = self.found.findings.records
        try:
            data = self.access(records.shards[records.shard[record]], digest)
            shown = _DRAWN[modality](data)
        except (ContentError, KeyError) as error:
            return f"<i>{html.escape(str(error))}</i>"
        if len(shown) > self.left:
            return OMITTED
        self.left -= len(shown)
        return shown

    def _row(self, record: int) -> dict[str, Any]:
        records = self.found.findings.records
        return _record(records.shards[records.shard[record]], int(records.row[record]))


def _record(shard: Path, row: int) -> dict[str, Any]:
    first = 0
    for table in record_batches(shard, ROLES):
        if row < first + table.num_rows:
            found: dict[str, Any] = table.slice(row - first, 1).to_pylist()[0]
            return found
        first += table.num_rows
    raise DataError(f"{shard} has no record {row}; it changed during the audit")


def _marked(first: str, second: str) -> tuple[str, str]:
    """Both texts, the words that the other lacks marked."""
    a, b = first[:TEXT_LIMIT].split(" "), second[:TEXT_LIMIT].split(" ")
    left: list[str] = []
    right: list[str] = []
    for same, low, high, low_b, high_b in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for words, target in ((a[low:high], left), (b[low_b:high_b], right)):
            said = html.escape(" ".join(words))
            target.append(said if same == "equal" or not said else f"<mark>{said}</mark>")
    return f"<p>{' '.join(left)}</p>", f"<p>{' '.join(right)}</p>"


def _picture(pixels_HW3: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels_HW3)).save(buffer, "WEBP", quality=80)
    return f'<img src="{_uri("image/webp", buffer.getvalue())}" alt="">'


def _image(data: bytes) -> str:
    from model.media.image import decode_image

    return _picture(decode_image(data, Limits(), size=SIDE))


def _video(data: bytes) -> str:
    from model.media.video import decode_video

    frames = decode_video(data, Limits(), size=SIDE, max_frames=FRAMES).frames_FSS3
    return _picture(np.concatenate(list(frames), axis=1))


def _audio(data: bytes) -> str:
    kind = next((kind for start, kind in TYPES.items() if data.startswith(start)), "audio/mpeg")
    if len(data) > PLAYED_BYTES:
        return f"<i>a sound of {len(data):,} bytes</i>"
    return f'<audio controls preload=none src="{_uri(kind, data)}"></audio>'


def _document(data: bytes) -> str:
    from model.media.document import decode_document

    pages = decode_document(data, Limits(), size=2 * SIDE, text=True)
    drawn = [page.pixels_SS3 for page in pages[:3] if page.pixels_SS3 is not None]
    text = html.escape(" ".join(page.text for page in pages)[:TEXT_LIMIT])
    return (_picture(np.concatenate(drawn, axis=1)) if drawn else "") + f"<p>{text}</p>"


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


_DRAWN = {"image": _image, "video": _video, "audio": _audio, "document": _document}
