"""Parsers of corpora in the layout in which they are published."""

import importlib

from ser_keras.corpora.parsers._files import CorpusError

__all__ = ["CorpusError", "corpus_names", "load_corpus"]

_MODULE_OF = {
    "audformat": "ser_keras.corpora.parsers.audformat_database",
    "cafe": "ser_keras.corpora.parsers.cafe",
    "crema_d": "ser_keras.corpora.parsers.crema_d",
    "emodb": "ser_keras.corpora.parsers.emodb",
    "emovo": "ser_keras.corpora.parsers.emovo",
    "iemocap": "ser_keras.corpora.parsers.iemocap",
    "manifest": "ser_keras.corpora.manifest_files",
    "msp_improv": "ser_keras.corpora.parsers.msp_improv",
    "msp_podcast": "ser_keras.corpora.parsers.msp_podcast",
    "nemo": "ser_keras.corpora.parsers.nemo",
    "ravdess": "ser_keras.corpora.parsers.ravdess",
    "savee": "ser_keras.corpora.parsers.savee",
    "tess": "ser_keras.corpora.parsers.tess",
}


def corpus_names():
    """Names that `load_corpus` knows, sorted."""
    return tuple(sorted(_MODULE_OF))


def load_corpus(name, root, **options):
    """Reads which utterances a corpus holds; audio is not opened.

    Args:
        name: One of `corpus_names()`; `"manifest"` is a CSV or JSON lines
            file of one's own, `"audformat"` any database in that format.
        root: Folder of the corpus, in the layout of its original release.
        **options: Of the corpus: `labels` for all of them, and those of its
            module's `load`, such as `scripts` and `merge_excited` for
            IEMOCAP, `votes` for CREMA-D, `version` for MSP-Podcast.

    Returns:
        `Manifest`, sorted by utterance id.

    Raises:
        CorpusError: If the folder is not there, is empty or has another
            layout; the message says what was expected and what was found.

    >>> corpus_names()
    ('audformat', 'cafe', 'crema_d', 'emodb', 'emovo', 'iemocap', 'manifest',
     'msp_improv', 'msp_podcast', 'nemo', 'ravdess', 'savee', 'tess')
    """
    if name not in _MODULE_OF:
        raise ValueError(
            f"`name` must be one of {corpus_names()}. Received: name={name!r}"
        )
    return importlib.import_module(_MODULE_OF[name]).load(root, **options)
