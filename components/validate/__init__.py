"""Step: check a corpus, quarantine bad rows with their reasons, stop when it is broken as a whole."""
