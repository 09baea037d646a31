"""Evaluate step: the candidate and its untrained starting point on every benchmark of the test split."""
