"""Losses as pure functions of embeddings that return named parts."""
