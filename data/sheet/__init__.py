"""Choosing the records that people look at."""
