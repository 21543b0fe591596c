"""Leak guard: no test utterance was in a search's or a training's data.

Names are not enough to tell: a corpus may hold the same clip twice, and a
genotype may come from a search on a copy of the test corpus in other folders.
So what is kept beside a genotype or a network are hashes of the audio itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ser_keras._deprecated import renamed_arguments
from ser_keras._files import write_text
from ser_keras.corpora.audio_content import audio_contents
from ser_keras.corpora.built_in import original_hash

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.manifest import Utterance
    from ser_keras.protocols.splits import Fold

FILE = "exposed_audio.json"
_FORMER_FILE = "seen_audio.json"  # Of runs before 0.2.0.
_VERSION = 1
_SHOWN = 5


class LeakError(ValueError):
    """A test utterance was in the data of a search or a training."""


@dataclasses.dataclass(frozen=True)
class ExposedAudio:
    """Hashes of all audio that each stage was exposed to.

    A stage is a search, a pre-training or a training. Its held-out part counts
    as well: what selects an architecture or a checkpoint was used.

    Args:
        stages: Dict from a stage, such as `"search"`, to hashes.

    Example:
    >>> ExposedAudio({"search": ["a1", "b2"]}).add("train", ["a1"]).describe()
    'search: 2 recordings, train: 1 recordings'
    """

    stages: dict = dataclasses.field(default_factory=dict)

    def add(
        self,
        stage: str,
        audio: Manifest
        | list[str]
        | tuple[str, ...]
        | set[str]
        | frozenset[str],
        jobs: int | None = None,
    ) -> ExposedAudio:
        """Returns a record with more audio in a stage; this one stays as it is.

        Args:
            stage: Name of the stage.
            audio: `Manifest` of all that it uses, training and held-out part,
                or hashes.
            jobs: Threads that decode.

        Returns:
            `ExposedAudio`.

        Raises:
            ValueError: An audio file cannot be decoded.
        """
        if not isinstance(audio, list | tuple | set | frozenset):
            audio = audio_hashes(audio, jobs).values()
        hashes = {*self.stages.get(stage, ()), *audio}
        return ExposedAudio({**self.stages, stage: sorted(hashes)})

    def merge(self, other: ExposedAudio) -> ExposedAudio:
        """Returns the union of two records, stage by stage."""
        merged = dict(self.stages)
        for stage, hashes in other.stages.items():
            merged[stage] = sorted({*merged.get(stage, ()), *hashes})
        return ExposedAudio(merged)

    def check_unseen(
        self,
        test: Manifest | Sequence[Utterance],
        hashes: Mapping[str, str] | None = None,
        jobs: int | None = None,
    ) -> None:
        """Raises if a test utterance's audio was in any stage.

        Args:
            test: `Manifest` of the test part.
            hashes: Dict from id to hash that covers these utterances, if they
                were decoded before.
            jobs: Threads that decode.

        Raises:
            LeakError: The message names the utterances and the stages.
        """
        if hashes is None:
            hashes = audio_hashes(test, jobs)
        found = {}
        for stage, exposed in self.stages.items():
            exposed = set(exposed)
            for utterance in test:
                if hashes[utterance.id] in exposed:
                    found.setdefault(utterance.id, []).append(stage)
        if found:
            shown = "; ".join(
                f"{name} (in {', '.join(stages)})"
                for name, stages in list(found.items())[:_SHOWN]
            )
            raise LeakError(
                "Test audio must not be in the data of a search or a "
                f"training. Received: {len(found)} of {len(test)} test "
                f"utterances whose audio is, such as {shown}. Search and train "
                "on other speakers, or score another part."
            )

    def describe(self) -> str:
        """Returns one line for a log: recordings of each stage."""
        return ", ".join(
            f"{stage}: {len(hashes)} recordings"
            for stage, hashes in self.stages.items()
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `exposed_audio.json` beside a genotype or a network."""
        record = {"version": _VERSION, "stages": self.stages}
        write_text(pathlib.Path(folder) / FILE, json.dumps(record, indent=1))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> ExposedAudio:
        """Reads what `save` wrote, or version 0.1 as `seen_audio.json`.

        Raises:
            ValueError: There is no such file, or it holds something else.
        """
        path = _record_path(folder)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["version"] != _VERSION:
                raise KeyError("version")
            return cls({k: list(x) for k, x in record["stages"].items()})
        except FileNotFoundError as error:
            raise ValueError(
                f"{path} is missing, so it is unknown which audio a search or "
                "training in this folder was exposed to. Copy the file from "
                "the folder of the run that wrote the genotype or network."
            ) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a record of exposed audio: {error!r}"
            ) from error


def exposed_by_search(
    genotype: str | os.PathLike[str] | None, corpus: Manifest | None = None
) -> ExposedAudio:
    """Audio that a search was exposed to before any fold is trained.

    Args:
        genotype: File of a genotype that was searched earlier, or None. The
            audio of its search is in the record beside it.
        corpus: `Manifest` of another corpus to search or pre-train on, or
            None.

    Returns:
        `ExposedAudio`.

    Raises:
        ValueError: The record is damaged, or an audio file of `corpus` cannot
            be decoded.
    """
    exposed = ExposedAudio()
    if genotype:
        folder = pathlib.Path(genotype).parent
        if _record_path(folder).exists():
            exposed = exposed.merge(ExposedAudio.load(folder))
        else:
            print(
                f"There is no {FILE} beside {genotype}: it cannot be checked "
                "whether test speakers were in its search.",
                flush=True,
            )
    return exposed if corpus is None else exposed.add("search corpus", corpus)


def audio_hashes(
    manifest: Manifest | Sequence[Utterance],
    jobs: int | None = None,
    skip_bad_audio: bool = False,
) -> dict[str, str]:
    """Hash of the decoded audio of each utterance.

    A file of the built-in corpus, which is coded with loss, has the hash of the
    recording of EMO-DB that it was made from.

    Args:
        manifest: `Manifest`.
        jobs: Threads that decode.
        skip_bad_audio: Whether utterances that cannot be decoded, or are
            silent, are left out.

    Returns:
        Dict from id to hash.

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
    hashes = {name: content.hash for name, content in contents.items()}
    originals = {u.id: original_hash(u) for u in manifest if u.id in hashes}
    return {name: originals[name] or hashes[name] for name in hashes}


@renamed_arguments(seen="exposed")
def guard_folds(
    folds: Sequence[Fold],
    manifest: Manifest,
    exposed: ExposedAudio,
    skip_bad_audio: bool = False,
) -> dict[str, ExposedAudio]:
    """Checks each fold for leaked test audio, and records what it uses.

    Args:
        folds: List of `Fold`.
        manifest: `Manifest` of all their utterances that are used.
        exposed: `ExposedAudio` of earlier stages, such as a search on another
            corpus.
        skip_bad_audio: Whether bad audio in the manifest is left out here as
            well instead of being refused.

    Returns:
        Dict from the name of a fold to its `ExposedAudio`, training included.

    Raises:
        LeakError: Audio of a test part is in its training part under another
            name, or in `exposed`. A fold that says of itself that it leaks
            speakers is recorded, but not checked.
    """
    hashes = audio_hashes(manifest, skip_bad_audio=skip_bad_audio)
    records = {}
    for fold in folds:
        used = [hashes[u.id] for u in fold.train if u.id in hashes]
        record = exposed.add("train", used)
        if not fold.leaks_speakers:
            test = [u for u in fold.test if u.id in hashes]
            try:
                record.check_unseen(test, hashes)
            except LeakError as error:
                raise LeakError(f"Fold {fold.name!r}: {error}") from error
        records[fold.name] = record
    return records


def _record_path(folder):
    """The record of a folder: under its former name only where that is all."""
    path, former = (pathlib.Path(folder) / x for x in (FILE, _FORMER_FILE))
    return former if former.exists() and not path.exists() else path


SeenAudio = ExposedAudio  # Deprecated since 0.2.0.
