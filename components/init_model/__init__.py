"""Step: initial weights to a model artifact."""
