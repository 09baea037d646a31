"""Step: average checkpoints, gated on the validation split."""
