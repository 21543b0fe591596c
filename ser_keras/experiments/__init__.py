"""Experiments: a system as hooks, and one driver that runs all of them."""
