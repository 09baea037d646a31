"""Run configuration, pipeline graphs, compile and submit, and the command line."""
