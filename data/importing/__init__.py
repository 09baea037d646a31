"""Import a user's corpus: rows and media from wherever they are, into shards, with nothing lost."""
