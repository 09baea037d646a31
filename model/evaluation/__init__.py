"""Measuring an encoder: ranking metrics, intervals, health of the space, and the bridge to mteb."""
