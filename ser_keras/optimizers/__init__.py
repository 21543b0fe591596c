"""Optimisers whose update of a variable is one operation of a graph."""
