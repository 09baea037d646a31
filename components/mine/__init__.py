"""Step: hard negatives for the records of a corpus, by the model as it is now."""
