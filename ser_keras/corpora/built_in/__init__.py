"""Built-in corpus: acted German speech of EMO-DB, in four emotions."""

import functools
import json
import pathlib

from ser_keras.corpora.manifest import Utterance

FOLDER = pathlib.Path(__file__).parent
#: Labels of the corpus: the four of EMO-DB's seven that IEMOCAP has as well.
LABELS = ("anger", "happiness", "neutral", "sadness")


def built_in_corpus(smoke: bool = False) -> pathlib.Path:
    """Folder of the corpus that comes with the package, in EMO-DB's layout.

    339 utterances of ten speakers, 954 s in all, coded with Opus at 16 kHz:
    anger 127, happiness 71, neutral 79, sadness 62. File names are EMO-DB's.
    The README.md beside this module has the source, the licence (CC0 1.0) and
    how the files were made. Nothing is written to the folder.

    Args:
        smoke: Whether to return the folder of a part of it that keeps smoke
            runs short: the shortest utterance of each speaker in each emotion,
            40 in all, 73 s.

    Returns:
        `pathlib.Path` of the folder, for `load_corpus("emodb", folder)`.

    Raises:
        FileNotFoundError: The folder is not there: the package was installed
            without its data, or is imported from a zip file.

    References:
        Burkhardt et al., "A database of German emotional speech",
        Interspeech 2005.

    Example:
    >>> from ser_keras.corpora.parsers import load_corpus
    >>> load_corpus("emodb", built_in_corpus()).counts()
    {'anger': 127, 'happiness': 71, 'neutral': 79, 'sadness': 62}
    """
    folder = FOLDER / ("emodb_smoke" if smoke else "emodb")
    if not folder.is_dir():
        raise FileNotFoundError(
            "The built-in corpus must be a folder of audio files. Received: "
            f"{folder}, which is no folder. Install ser_keras with pip from "
            "its wheel or its repository (a zip file on the Python path does "
            "not do), or give a corpus (--corpus, --data-dir)."
        )
    return folder


def original_hash(utterance: Utterance) -> str | None:
    """Hash of the recording of EMO-DB that a file was made from.

    Coding has changed the samples, so a file's own hash does not show that a
    recording is the same.

    Args:
        utterance: `Utterance`.

    Returns:
        Hash as of `ser_keras.corpora.audio_content`; None if the utterance is
        not a whole file of the built-in corpus.
    """
    path = pathlib.Path(utterance.path)
    whole = utterance.start is None and utterance.end is None
    if not whole or path.parent.parent != FOLDER:
        return None
    return _original_hashes().get(path.stem)


@functools.cache
def _original_hashes() -> dict[str, str]:
    return json.loads((FOLDER / "original_hashes.json").read_text("utf-8"))


def is_built_in(path: str | pathlib.Path) -> bool:
    """Whether an audio file is one of the built-in corpus', also elsewhere.

    Args:
        path: Path of an utterance, as a manifest of this or of another
            machine has it.

    >>> is_built_in("/usr/lib/ser_keras/corpora/built_in/emodb/03a01Fa.ogg")
    True
    """
    parts = pathlib.PurePath(path).parts
    return parts[-5:-2] == FOLDER.parts[-3:]
