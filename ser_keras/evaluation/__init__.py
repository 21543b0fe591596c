"""Predictions, scores, figures, and the folder that a run leaves behind."""
