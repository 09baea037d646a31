"""Duplicates and leaks: the same thing, or nearly, twice in training or in training and evaluation.

``rules`` says what counts; ``items`` reads a corpus as items (texts, media) and who uses them; ``texts`` and ``media``
find which items are alike; ``wholes`` compares whole contents and pairs; ``pairs`` says between whom that is a finding;
``decide`` applies the policies; ``write`` makes the new corpus.
"""
