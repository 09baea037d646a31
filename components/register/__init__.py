"""Register step: the exported artifact becomes a version of the registered model."""
