"""The sentence_transformer family: any model that sentence-transformers loads, behind the encoder protocol."""
