"""Features: from audio files to arrays and batches, cached on disk."""
