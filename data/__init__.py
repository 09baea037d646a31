"""Records, shards, sources, validation, sampling and benchmark declarations."""
