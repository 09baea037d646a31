"""Step: find leaks and duplicates, apply the policies, show the pairs."""
