"""Whole runs: corpus, training, scores, SavedModel; resumable throughout."""
