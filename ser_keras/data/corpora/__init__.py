"""Parsers of corpora in the layout in which they are published."""

import importlib

from ser_keras.data.corpora._files import CorpusError

__all__ = ["CorpusError", "corpus_names", "load_corpus"]

_MODULE_OF = {
    "emodb": "ser_keras.data.corpora.emodb",
    "iemocap": "ser_keras.data.corpora.iemocap",
    "ravdess": "ser_keras.data.corpora.ravdess",
}


def corpus_names():
    """Names that `load_corpus` knows, sorted."""
    return tuple(sorted(_MODULE_OF))


def load_corpus(name, root, **options):
    """Reads which utterances a corpus holds; audio is not opened.

    Args:
        name: `"emodb"`, `"iemocap"` or `"ravdess"`.
        root: Folder of the corpus, in the layout of its original release.
        **options: Of the corpus: `labels` for all of them, and `scripts` and
            `merge_excited` for IEMOCAP.

    Returns:
        `Manifest`, sorted by utterance id.

    Raises:
        CorpusError: If the folder is not there, is empty or has another
            layout; the message says what was expected and what was found.

    >>> corpus_names()
    ('emodb', 'iemocap', 'ravdess')
    """
    if name not in _MODULE_OF:
        raise ValueError(
            f"`name` must be one of {corpus_names()}. Received: name={name!r}"
        )
    return importlib.import_module(_MODULE_OF[name]).load(root, **options)
