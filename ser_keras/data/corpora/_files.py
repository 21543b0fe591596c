"""Finding a corpus' files, with one clear error if they are not there."""

import pathlib

from ser_keras.data.manifest import Manifest

AUDIO_SUFFIXES = (".wav", ".flac")


class CorpusError(ValueError):
    """A folder does not hold the corpus it should hold."""


def corpus_folder(root, corpus, layout):
    """`root` as a path to an existing folder with something in it."""
    folder = pathlib.Path(root).expanduser()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise CorpusError(f"{folder} {what}. Expected {corpus}: {layout}")
    if next(visible(folder), None) is None:
        raise CorpusError(f"{folder} is empty. Expected {corpus}: {layout}")
    return folder


def visible(folder, pattern="*"):
    """Paths that match, without the `._*` files macOS leaves in archives."""
    return (p for p in folder.glob(pattern) if not p.name.startswith("."))


def audio_by_stem(folder, patterns):
    """Dict from stem to path of the audio files that match, sorted.

    The same stem in two places would be the same utterance twice, so the file
    that comes first in `patterns` is taken; a wav goes before a flac.
    """
    found = {}
    for pattern in patterns:
        for suffix in AUDIO_SUFFIXES:
            for path in sorted(visible(folder, pattern)):
                if path.suffix.lower() == suffix and path.is_file():
                    found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def wrong_layout(folder, corpus, layout):
    """The error for a folder that holds something else."""
    names = sorted(path.name for path in visible(folder))
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return CorpusError(
        f"{folder} does not look like {corpus}. Expected {layout} Found: "
        f"{', '.join(names[:5])}{more}."
    )


def corpus_manifest(utterances, labels, known, default):
    """Manifest of the utterances that have one of the asked labels.

    Args:
        utterances: List of `Utterance`.
        labels: Asked labels, `"all"`, or None for `default`.
        known: All labels of the corpus, in order.
        default: Labels that None stands for.
    """
    if labels is None:
        labels = default
    elif labels == "all":
        labels = known
    elif isinstance(labels, str):
        labels = (labels,)
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ValueError(
            f"`labels` must be among {tuple(known)}. Received unknown labels: "
            f"{unknown}"
        )
    chosen = [u for u in utterances if u.label in labels]
    chosen.sort(key=lambda utterance: utterance.id)
    return Manifest(chosen, tuple(labels))
