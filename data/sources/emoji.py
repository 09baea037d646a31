"""Emoji drawings with their CLDR names: ``text_to_image``, one shard for each artist.

Record ids are ``emoji-<artist>/<concept>/<language>`` and, for the English keywords, ``.../<concept>/keywords``.
A name that is spelled alike in several languages is one record with all of them (see ``data.sources.draft``).
OpenMoji is the unseen artist: only concepts of the test split, and no other use of its drawings.
"""

from collections.abc import Sequence
from pathlib import Path

from data.records import PartRef, Split
from data.sources.concepts import ARTISTS, Concept, concepts, picture
from data.sources.draft import Draft, text_part
from data.sources.media import encode_webp
from model.content import Modality

UNSEEN_ARTIST = "openmoji"
FEWEST_KEYWORDS = 2


def build(cache: Path, artist: str) -> Draft:
    """Build the shard of one artist."""
    draft = Draft(f"emoji-{artist}", license=f"{ARTISTS[artist].license} AND Unicode-3.0")
    chosen = [c for c in concepts(cache) if artist != UNSEEN_ARTIST or c.split == "test"]
    drawings = [draft.add_media(Modality.IMAGE, encode_webp(picture(cache, artist, concept))) for concept in chosen]
    leaking = _shared_by_splits(chosen, drawings)
    for concept, part in zip(chosen, drawings, strict=True):
        if part in leaking:
            continue
        drawing = (part,)
        for language, name in concept.names.items():
            draft.add(
                f"{concept.key}/{language}",
                "text_to_image",
                [text_part(name)],
                drawing,
                group=concept.group,
                languages=[language],
            )
        # A single keyword ("flag") would ask for hundreds of pictures at once.
        if len(concept.keywords) >= FEWEST_KEYWORDS:
            keywords = [text_part(", ".join(concept.keywords))]
            draft.add(
                f"{concept.key}/keywords", "text_to_image", keywords, drawing, group=concept.group, languages=["en"]
            )
    return draft


def _shared_by_splits(chosen: Sequence[Concept], drawings: Sequence[PartRef]) -> frozenset[PartRef]:
    """Drawings that an artist uses for concepts of different splits: they would leak, so they are left out."""
    splits: dict[PartRef, set[Split]] = {}
    for concept, part in zip(chosen, drawings, strict=True):
        splits.setdefault(part, set()).add(concept.split)
    return frozenset(part for part, found in splits.items() if len(found) > 1)
