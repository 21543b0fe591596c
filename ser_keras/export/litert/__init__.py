"""LiteRT files (formerly TFLite)."""
