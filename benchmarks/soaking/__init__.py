"""Parts of ``python -m benchmarks.soak``: good and hostile callers, what is watched meanwhile, and the report."""
