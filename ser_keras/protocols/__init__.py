"""Protocols: who is trained on, who is tested, and a guard against leaks."""
