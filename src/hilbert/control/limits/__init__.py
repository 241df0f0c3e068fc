"""Limits on calls, divided over the workers that enforce them."""
