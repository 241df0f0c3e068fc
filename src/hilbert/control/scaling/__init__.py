"""How many replicas a function should have."""
