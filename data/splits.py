"""Splits: a hash of the leakage group, made before any fan-out to artists, languages, voices or clips."""

import hashlib

from data.records import Split


def split_of(group: str) -> Split:
    """Split of a leakage group: SHA-1 modulo 5, where 0 is test, 1 validation and the rest train."""
    bucket = int(hashlib.sha1(group.encode(), usedforsecurity=False).hexdigest(), 16) % 5
    if bucket == 0:
        return "test"
    return "validation" if bucket == 1 else "train"
