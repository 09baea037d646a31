"""Gate step: the candidate becomes champion only if every rule holds."""
