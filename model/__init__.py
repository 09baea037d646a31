"""The encoder, its losses, its training, evaluation and export: the lowest layer."""
