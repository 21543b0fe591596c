"""Trained models at work: on streams of sound."""
