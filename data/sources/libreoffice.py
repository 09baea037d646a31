"""LibreOffice help: aligned paragraphs (``bitext``) and heading -> passage (``heading_to_passage``).

A page has the same path and the same paragraph ids in every language, so pairs are exact. The group is the page path.
"""

import html
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from data.sources.draft import Draft, order_key, text_part
from data.sources.packages import unpack

LICENSE = "MPL-2.0"
# BCP-47 -> (package tag, folder of the help tree)
HELP: Mapping[str, tuple[str, str]] = {
    "en": ("en-us", "en-US"),
    "de": ("de", "de"),
    "fr": ("fr", "fr"),
    "es": ("es", "es"),
    "it": ("it", "it"),
    "pt-BR": ("pt-br", "pt-BR"),
    "ru": ("ru", "ru"),
    "ja": ("ja", "ja"),
    "zh-CN": ("zh-cn", "zh-CN"),
}
BITEXT_PAIRS = 700
BITEXT_PAIRS_PER_PAGE = 2
BITEXT_LENGTH = (30, 300)
# Japanese and Chinese say the same in about a third of the characters.
DENSE_LANGUAGES = ("ja", "zh-CN")
DENSE_SHORTEST = 12
LATIN_LANGUAGES = ("de", "fr", "es", "it", "pt-BR")
PASSAGE_LANGUAGES = ("en", "de", "fr", "es", "ja")
PASSAGES = 600
PASSAGES_PER_PAGE = 2
PASSAGE_LENGTH = (80, 600)
SHORTEST_HEADING = 8

_BLOCK = re.compile(r'<(p|h[1-6]) id="((?:par|hd)_[^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)
# A paragraph that is nothing but a link to another page ("Related topics").
_LINK_ONLY = re.compile(r'\s*(?:<a name="[^"]*"></a>\s*)*<a [^>]*href=[^>]*>(?:(?!</?a\b).)*</a>\s*', re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
Blocks = Mapping[str, str]


def build_bitext(cache: Path) -> Draft:
    """Build ``libreoffice-bitext``: English paragraph -> the same paragraph in another language."""
    draft = Draft("libreoffice-bitext", LICENSE)
    # Boilerplate stands on many pages, in different splits: an English text belongs to the first page that gave it.
    owners: dict[str, str] = {}
    for language in HELP:
        if language == "en":
            continue
        for page, block, english, translation in _pairs(cache, language, owners):
            draft.add(
                f"{page}/{block}/{language}",
                "bitext",
                [text_part(english)],
                [text_part(translation)],
                group=page,
                languages=["en", language],
            )
    return draft


def build_help(cache: Path) -> Draft:
    """Build ``libreoffice-help``: heading -> the passage under it."""
    draft = Draft("libreoffice-help", LICENSE)
    for language in PASSAGE_LANGUAGES:
        for page, block, heading, passage in _passages(cache, language):
            draft.add(
                f"{page}/{block}/{language}",
                "heading_to_passage",
                [text_part(heading)],
                [text_part(passage)],
                group=page,
                languages=[language],
            )
    return draft


def blocks_of(page: str) -> dict[str, str]:
    """Paragraphs and headings of a page by id, in order; those that depend on the operating system are left out."""
    found = {}
    for match in _BLOCK.finditer(page):
        if "switchinline" in match[3] or "<img" in match[3] or (match[1] == "p" and _LINK_ONLY.fullmatch(match[3])):
            continue
        text = " ".join(html.unescape(_TAG.sub("", match[3])).split())
        if text:
            found[match[2]] = text
    return found


@lru_cache(maxsize=2)
def _pages(cache: Path, language: str) -> Mapping[str, Blocks]:
    tag, folder = HELP[language]
    root = unpack(f"help-{tag}", cache) / "usr/share/libreoffice/help" / folder
    pages = sorted(root.glob("text/**/*.html"), key=lambda path: order_key("help", _name(path, root)))
    return {_name(path, root): blocks_of(path.read_text(encoding="utf-8")) for path in pages}


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def _pairs(cache: Path, language: str, owners: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """(page, block, English, translation), each English and each translation once, until there are enough."""
    english_pages, pages = _pages(cache, "en"), _pages(cache, language)
    shortest, longest = BITEXT_LENGTH
    least = DENSE_SHORTEST if language in DENSE_LANGUAGES else shortest
    untranslated = {text for blocks in english_pages.values() for text in blocks.values()}
    seen: set[str] = set()
    count = 0
    for page, blocks in english_pages.items():
        taken = 0
        for block in sorted(blocks, key=lambda b: order_key("block", page, b)):
            english, other = blocks[block], pages.get(page, {}).get(block, "")
            fits = shortest <= len(english) <= longest and least <= len(other) <= longest
            translated = other not in untranslated and (language in LATIN_LANGUAGES or _is_mostly_foreign(other))
            if fits and translated and not {english, other} & seen and owners.setdefault(english, page) == page:
                seen |= {english, other}
                taken, count = taken + 1, count + 1
                yield page, block, english, other
            if taken == BITEXT_PAIRS_PER_PAGE:
                break
        if count >= BITEXT_PAIRS:
            return


def _is_mostly_foreign(text: str) -> bool:
    """Whether at least a third of the letters are outside ASCII: English left in a Cyrillic or CJK page is not."""
    letters = [c for c in text if c.isalpha()]
    return 3 * sum(not c.isascii() for c in letters) >= len(letters) > 0


def _passages(cache: Path, language: str) -> Iterator[tuple[str, str, str, str]]:
    """(page, block, heading, passage) where the heading and the passage occur nowhere else in the language."""
    sections = [(page, *section) for page, blocks in _pages(cache, language).items() for section in _sections(blocks)]
    headings = Counter(heading.casefold() for _, _, heading, _ in sections)
    passages = Counter(passage for *_, passage in sections)
    # A heading that is also English text was left untranslated.
    english = set() if language == "en" else {text for page in _pages(cache, "en").values() for text in page.values()}
    per_page: Counter[str] = Counter()
    count = 0
    for page, block, heading, passage in sections:
        unique = headings[heading.casefold()] == 1 and passages[passage] == 1
        if unique and heading not in english and per_page[page] < PASSAGES_PER_PAGE:
            per_page[page] += 1
            count += 1
            yield page, block, heading, passage
        if count >= PASSAGES:
            return


def _sections(blocks: Blocks) -> Iterator[tuple[str, str, str]]:
    """(block, heading, passage) of a page: the whole paragraphs after a heading that fit the length."""
    shortest, longest = PASSAGE_LENGTH
    items = list(blocks.items())
    for position, (block, heading) in enumerate(items):
        if not block.startswith("hd_") or len(heading) < SHORTEST_HEADING:
            continue
        passage = ""
        for other, text in items[position + 1 :]:
            if other.startswith("hd_") or len(passage) + len(text) + 1 > longest:
                break
            passage = f"{passage} {text}".strip()
        if len(passage) >= shortest:
            yield block, heading, passage
