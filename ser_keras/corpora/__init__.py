"""Corpora: manifests, one parser a corpus, download, audit and label maps."""
