"""No test utterance was ever seen by a search or a training.

Names say little: a clip may be there twice, or a genotype may come from a
search on a copy of the test corpus in other folders. So what is kept beside a
genotype or a network are hashes of the audio itself.
"""

import dataclasses
import json
import pathlib

from ser_keras._files import write_text
from ser_keras.corpora.audio_content import audio_contents

FILE = "seen_audio.json"
_VERSION = 1
_SHOWN = 5


class LeakError(ValueError):
    """A test utterance was seen by a search or a training."""


@dataclasses.dataclass(frozen=True)
class SeenAudio:
    """Hashes of all audio that each stage has seen.

    Args:
        stages: Dict from a stage, such as `"search"`, to hashes.

    Example:
    >>> SeenAudio({"search": ["a1", "b2"]}).add("train", ["a1"]).describe()
    'search: 2 recordings, train: 1 recordings'
    """

    stages: dict = dataclasses.field(default_factory=dict)

    def add(self, stage, seen, jobs=None):
        """The record with more audio in a stage; this one stays as it is.

        Args:
            stage: Name of the stage.
            seen: `Manifest` of what it sees, training and held-out part, or
                hashes.
            jobs: Threads that decode.

        Raises:
            ValueError: An audio file cannot be decoded.
        """
        if not isinstance(seen, list | tuple | set | frozenset):
            seen = audio_hashes(seen, jobs).values()
        hashes = {*self.stages.get(stage, ()), *seen}
        return SeenAudio({**self.stages, stage: sorted(hashes)})

    def merge(self, other):
        """The record of both, such as of a genotype's and of this run's."""
        merged = dict(self.stages)
        for stage, hashes in other.stages.items():
            merged[stage] = sorted({*merged.get(stage, ()), *hashes})
        return SeenAudio(merged)

    def check_unseen(self, test, hashes=None, jobs=None):
        """Raises if a test utterance's audio was seen in any stage.

        Args:
            test: `Manifest` of the test part.
            hashes: Dict from id to hash, of these utterances among others, if
                they were decoded before.
            jobs: Threads that decode.

        Raises:
            LeakError: The message names the utterances and the stages.
        """
        if hashes is None:
            hashes = audio_hashes(test, jobs)
        found = {}
        for stage, seen in self.stages.items():
            seen = set(seen)
            for utterance in test:
                if hashes[utterance.id] in seen:
                    found.setdefault(utterance.id, []).append(stage)
        if found:
            shown = "; ".join(
                f"{name} (in {', '.join(stages)})"
                for name, stages in list(found.items())[:_SHOWN]
            )
            raise LeakError(
                "No test utterance may be seen by a search or a training. "
                f"Received {len(found)} of {len(test)} whose audio was, such "
                f"as {shown}. Search and train on other speakers, or score "
                "another part."
            )

    def describe(self):
        """One line for a log."""
        return ", ".join(
            f"{stage}: {len(hashes)} recordings"
            for stage, hashes in self.stages.items()
        )

    def save(self, folder):
        """Writes `seen_audio.json` into a folder, beside what has seen it."""
        record = {"version": _VERSION, "stages": self.stages}
        write_text(pathlib.Path(folder) / FILE, json.dumps(record, indent=1))

    @classmethod
    def load(cls, folder):
        """Reads what `save` wrote.

        Raises:
            ValueError: There is no such file, or another's.
        """
        path = pathlib.Path(folder) / FILE
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["version"] != _VERSION:
                raise KeyError("version")
            return cls({k: list(x) for k, x in record["stages"].items()})
        except FileNotFoundError as error:
            raise ValueError(
                f"{path} is not there, so nobody knows what was seen by what "
                "lies beside it."
            ) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a record of seen audio: {error!r}"
            ) from error


def heard_by_search(genotype, others=None):
    """What a search has heard before any fold is trained.

    Args:
        genotype: File of a genotype that was searched earlier, or None. What
            its search has heard is in the record beside it.
        others: `Manifest` of another corpus to search or pretrain on, or None.

    Returns:
        `SeenAudio`.
    """
    seen = SeenAudio()
    if genotype:
        folder = pathlib.Path(genotype).parent
        if (folder / FILE).exists():
            seen = seen.merge(SeenAudio.load(folder))
        else:
            print(
                f"There is no {FILE} beside {genotype}: whether its search has "
                "heard test speakers cannot be checked.",
                flush=True,
            )
    return seen if others is None else seen.add("search corpus", others)


def audio_hashes(manifest, jobs=None, skip_bad_audio=False):
    """Dict from id to the hash of an utterance's audio.

    Args:
        manifest: `Manifest`.
        jobs: Threads that decode.
        skip_bad_audio: Whether utterances that cannot be decoded, or in which
            there is nothing to hear, are left out.

    Raises:
        ValueError: An audio file cannot be decoded, and is not to be skipped.
    """
    contents = audio_contents(manifest, jobs)
    bad = {k: x.problem for k, x in contents.items() if x.hash is None}
    if skip_bad_audio:
        silent = {k for k, x in contents.items() if x.silent}
        left_out = silent.union(bad)
        contents = {k: x for k, x in contents.items() if k not in left_out}
    elif bad:
        name, problem = next(iter(bad.items()))
        raise ValueError(
            f"{len(bad)} of {len(manifest)} utterances cannot be decoded, "
            f"first {name}: {problem}. Leave them out of the manifest, or of "
            "a run by --skip-bad-audio."
        )
    return {name: content.hash for name, content in contents.items()}


def guard_folds(folds, manifest, seen, skip_bad_audio=False):
    """What each fold will have seen by its end, and that it is honest.

    Args:
        folds: List of `Fold`.
        manifest: `Manifest` of all their utterances that are used.
        seen: `SeenAudio` of what came before, such as a search on another
            corpus.
        skip_bad_audio: Whether the manifest may have bad audio, which is then
            left out here as well.

    Returns:
        Dict from the name of a fold to its `SeenAudio`.

    Raises:
        LeakError: Audio of a test part is in its training part under another
            name, or in `seen`. A fold that says of itself that it leaks
            speakers is recorded, but not checked.
    """
    hashes = audio_hashes(manifest, skip_bad_audio=skip_bad_audio)
    records = {}
    for fold in folds:
        used = [hashes[u.id] for u in fold.train if u.id in hashes]
        record = seen.add("train", used)
        if not fold.leaks_speakers:
            test = [u for u in fold.test if u.id in hashes]
            try:
                record.check_unseen(test, hashes)
            except LeakError as error:
                raise LeakError(f"Fold {fold.name!r}: {error}") from error
        records[fold.name] = record
    return records
