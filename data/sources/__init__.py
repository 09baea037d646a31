"""Builders of the starter corpus: one module per kind of source, each from pinned packages."""
