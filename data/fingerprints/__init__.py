"""Perceptual identity of media: words of 64 bits that stay nearly the same when an item is encoded anew.

A medium is a sequence of *units*: a picture is one, a clip has one for each frame, a sound one for some seconds, a
document one for each page. A unit is one or two search words, found among millions by banding (``data.audit.banding``),
and a signature of 192 bytes by which what was found is sifted, before both items are decoded and compared.
``data.fingerprints.units`` tells the two apart. Whoever changes a hash raises ``data.probes.PROBE_VERSION``, so that
stored ones are made again.
"""

from data.fingerprints.page import page_hashes
from data.fingerprints.picture import clip_hashes, picture_hash, picture_hashes
from data.fingerprints.sound import sound_hashes

__all__ = ["clip_hashes", "page_hashes", "picture_hash", "picture_hashes", "sound_hashes"]
