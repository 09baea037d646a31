"""What each text of a corpus is: its length, letters and script, traces of broken encodings, a guess at its language.

The guess is py3langid's, made only of texts long enough to tell, of their first part, and only of prose.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from model.content import media_digest
from model.script import UNKNOWN, script_of

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

FEWEST_LETTERS = 40
LETTER_SHARE = 0.7
READ_CHARACTERS = 120
LATIN = "Latn"
REPLACEMENT = "\ufffd"
ALLOWED_CONTROLS = "\t\n\r\f\u200c\u200d"
# UTF-8 read as Latin-1 or Windows-1252: a lead byte shown as one of the first, then a continuation byte.
MOJIBAKE = re.compile("[Â-ßà-ï][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
MOJIBAKE_PAIRS = 2
RARE = frozenset({"an", "eo", "la", "oc", "qu", "vo", "wa", "se"})
_FAMILIES = (
    "da no nb nn sv", "hr bs sr sl mk", "cs sk", "id ms jv", "es gl ca pt", "nl af fy lb", "de lb", "ru uk be bg mk",
    "hi mr ne sa", "fa ps ur ku ug ar", "tr az tk uz kk ky tt ba", "zh ja", "xh zu st sn", "ga gd", "fo is", "fi et",
)  # fmt: skip
CLOSE = {
    code: frozenset(other for family in _FAMILIES if code in family.split() for other in family.split())
    for family in _FAMILIES
    for code in family.split()
}


@dataclass(frozen=True, slots=True)
class TextProbe:
    """Findings about one text.

    Attributes:
        digest: of its UTF-8 bytes, made like a medium's.
        characters: code points.
        letters: letters and the marks on them.
        script: ISO 15924 code of the script that most letters belong to.
        language: guess, an ISO 639-1 code; ``None`` where the text is too short or no prose.
        confidence: of the guess, 0 to 1.
        replaced: replacement characters, left by a decoder that met foreign bytes.
        controls: control characters other than white space.
        mojibake: looks like UTF-8 that was read as Latin-1.
    """

    digest: str
    characters: int
    letters: int = 0
    script: str = UNKNOWN
    language: str | None = None
    confidence: float | None = None
    replaced: int = 0
    controls: int = 0
    mojibake: bool = False


def text_digest(text: str) -> str:
    """Identity of a text among the probes; lone surrogates, which no UTF-8 has, are kept apart."""
    return media_digest(text.encode("utf-8", "surrogatepass"))


def probe_text(text: str) -> TextProbe:
    """Measure one text; never raises."""
    letters = sum(map(str.isalpha, text))
    language, confidence = _guess(text[:READ_CHARACTERS])
    plain = text.isascii()
    return TextProbe(
        text_digest(text),
        len(text),
        letters,
        # Most texts of most corpora are ASCII, for which all of this is known without looking at each character.
        (LATIN if letters else UNKNOWN) if plain else script_of(text),
        language,
        confidence,
        0 if plain else text.count(REPLACEMENT),
        _controls(text),
        not plain and len(MOJIBAKE.findall(text)) >= MOJIBAKE_PAIRS,
    )


def probe_texts(texts: Iterable[str]) -> Iterator[TextProbe]:
    """Measure texts in their order, one after the other."""
    return map(probe_text, texts)


def _controls(text: str) -> int:
    if text.isprintable():
        return 0
    return sum(unicodedata.category(c) == "Cc" and c not in ALLOWED_CONTROLS for c in text)


def warm_up() -> None:
    """Load the language identifier, which takes a second, before threads ask for it."""
    _identifier()


def contradicts(guess: str, tags: Iterable[str]) -> bool:
    """Whether a guess rules out every one of the language tags; close languages do not rule each other out.

    Tags of languages that are never guessed are not contradicted.
    """
    codes = {tag.split("-")[0] for tag in tags}
    if not codes or not codes <= _guessed() | {"nb"}:
        return False
    return not codes & (CLOSE.get(guess, frozenset()) | {guess})


def _guess(text: str) -> tuple[str | None, float | None]:
    letters = sum(map(str.isalpha, text))
    spaces = text.count(" ")
    if letters < FEWEST_LETTERS or letters + spaces < LETTER_SHARE * len(text):
        return None, None
    language, confidence = _identifier().classify(text)
    return language, confidence


@lru_cache(maxsize=1)
def _guessed() -> frozenset[str]:
    return frozenset(_identifier().labels)


@lru_cache(maxsize=1)
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Dialects and creoles, which have codes of three letters, and planned or dead languages attract wrong guesses.
    identifier.set_languages([label for label in identifier.labels if len(label) == 2 and label not in RARE])
    return identifier
