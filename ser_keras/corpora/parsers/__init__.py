"""Parsers of corpora: each reads the layout in which a corpus is published.

A parser is a module of this package with a function `load(root, ...)` that
returns a `Manifest`, and `SOURCE`, a `Source`, or None for a format that many
corpora share. Its name is the name of the corpus; nothing else registers it.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pathlib
import pkgutil
import warnings
from typing import TYPE_CHECKING
from typing import Any

from ser_keras.corpora.built_in import is_built_in
from ser_keras.corpora.parsers._reading import CorpusError
from ser_keras.corpora.parsers._source import Source
from ser_keras.corpora.reading import CorpusWarning
from ser_keras.corpora.reading import Reading
from ser_keras.corpora.synthetic import is_synthetic

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest

__all__ = ["CorpusError", "CorpusWarning", "Source", "corpus_names"]
__all__ += ["corpus_source", "load_corpus"]


def corpus_names() -> tuple[str, ...]:
    """Names that `load_corpus` accepts, sorted."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if name[0] != "_"))


def corpus_source(name: str) -> Source | None:
    """Where a corpus is published, and its licence.

    Args:
        name: One of `corpus_names()`.

    Returns:
        `Source`, or None for `"manifest"` and `"audformat"`.

    Raises:
        ValueError: There is no parser of that name.

    >>> corpus_source("ravdess").page
    'https://zenodo.org/records/1188976'
    """
    return _parser(name).SOURCE


def load_corpus(
    name: str, root: str | os.PathLike[str], **options: Any
) -> Manifest:
    """Reads the utterances and labels of a corpus; audio is not opened.

    What the folder has that is not used, and what it lacks of the release, is
    in the manifest's `reading`; a `CorpusWarning` says what is missing.

    Args:
        name: One of `corpus_names()`; `"manifest"` is a CSV or JSON lines
            file of your own, `"audformat"` any database in that format.
        root: Folder of the corpus, in the layout of its original release.
        **options: Of the parser: `labels` for all corpora, and those of its
            module's `load`, such as `scripts` and `merge_excited` for
            IEMOCAP, `votes` for CREMA-D, `version` for MSP-Podcast.

    Returns:
        `Manifest`, sorted by utterance id.

    Raises:
        CorpusError: The folder does not exist, is empty or has another
            layout; the message says what was expected and what was found.
        ValueError: There is no parser of that name.

    >>> corpus_names()
    ('audformat', 'cafe', 'crema_d', 'emodb', 'emovo', 'iemocap', 'manifest',
     'msp_improv', 'msp_podcast', 'nemo', 'ravdess', 'savee', 'tess')
    """
    manifest = _parser(name).load(root, **options)
    reading = manifest.reading or Reading()
    path = pathlib.Path(manifest[0].path)
    if reading.missing and (
        is_built_in(path) or any(map(is_synthetic, path.parents))
    ):
        # A part of a release, on purpose.
        reading = dataclasses.replace(reading, missing=())
        manifest = dataclasses.replace(manifest, reading=reading)
    if reading.missing:
        warnings.warn(
            f"Incomplete corpus {name} in {root}: {'; '.join(reading.missing)}",
            CorpusWarning,
            stacklevel=2,
        )
    return manifest


def _parser(name):
    if name not in corpus_names():
        raise ValueError(
            f"`name` must be one of {corpus_names()}. Received: name={name!r}"
        )
    return importlib.import_module(f"{__name__}.{name}")
