"""Step: boot the service with a registered version, compare it with the offline vectors, capture two windows."""
