"""Drift between the champion's reference and captured requests, with thresholds calibrated on the reference."""
