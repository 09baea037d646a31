"""Step: one contrastive training stage."""
