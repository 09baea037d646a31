"""Step: captured windows against the champion's reference, with our decision and Evidently's report."""
