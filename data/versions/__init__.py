"""Versions of a corpus: references to one, fetching it, recording a new one, and what changed between two."""
