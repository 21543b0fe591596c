"""Extractors of deep and hand-crafted features, one file a runtime."""
