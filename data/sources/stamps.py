"""Tux Paint stamps: pictures, captions and captions spoken by volunteers in several languages.

``stamps`` holds ``text_to_image``. ``stamps-speech`` holds ``speech_to_text`` (ids ``.../<language>/text``) and
``speech_to_image`` (``.../<language>/image``) on the same recordings. All of it is GPL material in files of its own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from data.groups import caption_group
from data.sources.draft import Draft, text_part
from data.sources.media import crop_to_content, encode_opus, encode_webp, load_picture, read_speech
from data.sources.packages import unpack
from model.content import Modality, media_digest

LICENSE = "GPL-2.0-or-later"
ROOT = "usr/share/tuxpaint/stamps"
SKIPPED_CATEGORY = "symbols"
VARIANT = re.compile(r"_(?:mirror|flip|mirrorflip)$")
PICTURE_SIZE = 128
LONG_CAPTION = 60
# Locale of the package -> BCP-47; English is the first line of a caption file.
_SAME_TAG = (
    "de", "fr", "es", "it", "pt", "nl", "sv", "pl", "cs", "ru", "uk", "el",
    "tr", "ar", "he", "hi", "th", "vi", "id", "ja", "ko", "ro", "ca", "bg",
)  # fmt: skip
CAPTION_LANGUAGES = {tag: tag for tag in _SAME_TAG} | {"zh_CN": "zh"}
SPEECH_LANGUAGES = ("en", "fr", "ro", "ru", "ca", "bg", "es")
_SENTENCE = re.compile(r"^(.+?[.!?。！？])(?:\s|$)")


@dataclass(frozen=True)
class Stamp:
    """One captioned picture; ``name`` is its path without suffix, ``captions`` maps a language to its text."""

    name: str
    captions: dict[str, str]
    picture: bytes
    recordings: dict[str, Path]

    @property
    def group(self) -> str:
        """Leakage group, from the English caption."""
        return caption_group(self.captions["en"])


def build_pictures(cache: Path) -> Draft:
    """Build ``stamps``: caption -> picture."""
    draft = Draft("stamps", LICENSE)
    for stamp in stamps(cache):
        drawing = [draft.add_media(Modality.IMAGE, stamp.picture)]
        for language, caption in stamp.captions.items():
            query = [text_part(caption)]
            record_id = f"{stamp.name}/{language}"
            draft.add(record_id, "text_to_image", query, drawing, group=stamp.group, languages=[language])
    return draft


def build_speech(cache: Path) -> Draft:
    """Build ``stamps-speech``: spoken caption -> caption in the same language, and -> picture."""
    draft = Draft("stamps-speech", LICENSE)
    for stamp in stamps(cache):
        for language, path in stamp.recordings.items():
            if language not in stamp.captions:
                continue
            spoken = [draft.add_media(Modality.AUDIO, encode_opus(read_speech(path)))]
            drawing = [draft.add_media(Modality.IMAGE, stamp.picture)]
            caption = [text_part(stamp.captions[language])]
            for target, task, positive in (("text", "speech_to_text", caption), ("image", "speech_to_image", drawing)):
                record_id = f"{stamp.name}/{language}/{target}"
                draft.add(record_id, task, spoken, positive, group=stamp.group, languages=[language])
    return draft


@lru_cache(maxsize=1)
def stamps(cache: Path) -> tuple[Stamp, ...]:
    """Captioned pictures without the symbols, mirrored variants and repeated pictures, in path order."""
    return tuple(_stamps(cache))


def _stamps(cache: Path) -> Iterator[Stamp]:
    root = unpack("stamps", cache) / ROOT
    seen: set[str] = set()
    for path in sorted(root.rglob("*.txt")):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name.startswith(f"{SKIPPED_CATEGORY}/") or VARIANT.search(name):
            continue
        image = next((f for f in (path.with_suffix(".png"), path.with_suffix(".svg")) if f.exists()), None)
        captions = parse_captions(path.read_text(encoding="utf-8", errors="replace"))
        if image is None or "en" not in captions:
            continue
        picture = encode_webp(_load(image))
        if media_digest(picture) not in seen:
            seen.add(media_digest(picture))
            yield Stamp(name, captions, picture, _recordings(path))


def parse_captions(text: str) -> dict[str, str]:
    """Captions by BCP-47 language; those left in English, empty or damaged are dropped."""
    first, *rest = text.splitlines() or [""]
    captions = {"en": shorten(first)} if first.strip() else {}
    for line in rest:
        tag, separator, value = line.partition(".utf8=")
        language = CAPTION_LANGUAGES.get(tag.strip())
        caption = shorten(value)
        if separator and language and caption and "\ufffd" not in caption and caption != captions.get("en"):
            captions[language] = caption
    return captions


def shorten(caption: str) -> str:
    """First sentence of a long caption; a short one as it is."""
    caption = " ".join(caption.split()).lstrip(".")
    sentence = _SENTENCE.match(caption)
    return sentence.group(1) if len(caption) > LONG_CAPTION and sentence else caption


def _load(path: Path) -> Image.Image:
    """Load a stamp without its transparent margin (some drawings are small on a large page)."""
    picture = crop_to_content(load_picture(path, 8 * PICTURE_SIZE))
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.LANCZOS)
    return picture


def _recordings(path: Path) -> dict[str, Path]:
    suffixes = {language: "" if language == "en" else f"_{language}" for language in SPEECH_LANGUAGES}
    files = {language: path.with_name(f"{path.stem}_desc{suffix}.ogg") for language, suffix in suffixes.items()}
    return {language: file for language, file in files.items() if file.exists()}
