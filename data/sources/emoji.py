"""Emoji drawings with their CLDR names: ``text_to_image``, one shard for each artist.

Record ids are ``emoji-<artist>/<concept>/<language>`` and, for the English keywords, ``.../<concept>/keywords``.
A name that is spelled alike in several languages is one record with all of them (see ``data.sources.draft``).
OpenMoji is the unseen artist: only concepts of the test split, and no other use of its drawings.
"""

from pathlib import Path

from data.sources.concepts import ARTISTS, concepts, picture
from data.sources.draft import Draft, text_part
from data.sources.media import encode_webp
from model.content import Modality

UNSEEN_ARTIST = "openmoji"
FEWEST_KEYWORDS = 2


def build(cache: Path, artist: str) -> Draft:
    """Build the shard of one artist."""
    draft = Draft(f"emoji-{artist}", license=f"{ARTISTS[artist].license} AND Unicode-3.0")
    for concept in concepts(cache):
        if artist == UNSEEN_ARTIST and concept.split != "test":
            continue
        drawing = (draft.add_media(Modality.IMAGE, encode_webp(picture(cache, artist, concept))),)
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
