"""Hard negatives: for each query the documents that a model ranks high and that nobody says are right."""
