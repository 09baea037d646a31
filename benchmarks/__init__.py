"""Side-by-side performance against peers: ``python -m benchmarks`` or ``make bench``."""
