"""Media decoding: encoded bytes to arrays, with every limit checked before the decoding starts."""
