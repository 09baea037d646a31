"""Offline embedding of files, folders and JSON lines."""
