"""Step: features of the frozen towers for every media item."""
