"""The unified family: towers, projectors, one shared bidirectional trunk, one vector space."""
