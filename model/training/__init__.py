"""Stages: configuration, the Lightning module, checkpoints and model soups."""
