"""Folds, groups of speakers, held-out speakers, and halves for a search.

Every function depends on sorted speakers and a seed only, not on the order in
which files were found.
"""

from __future__ import annotations

import collections
import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np

from ser_keras._errors import shortened
from ser_keras.corpora.manifest import Manifest


class SpeakerOverlapError(ValueError):
    """Two parts that must have different speakers share some."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """A training part and a test part that share no speaker.

    Some published figures come from folds that share speakers, or whose epoch
    was selected on the test part. A fold that reproduces such a figure says so
    in `leaks_speakers` and `selects_on_test`, which its scores repeat.

    Args:
        name: What is tested, for instance `"Ses05"` or `"03+08"`.
        train: `Manifest` of the training part.
        test: `Manifest` of the test part.
        leaks_speakers: Whether both parts may have the same speakers.
        selects_on_test: Whether the epoch is selected on the test part.
        protocol: Name, facts and hash of the `Protocol` that made the fold, if
            any.
        place: Number of the fold, from 1 on, and of all folds of that
            protocol.

    Raises:
        SpeakerOverlapError: The parts share a speaker, and `leaks_speakers` is
            False.
        ValueError: They share an utterance.
    """

    name: str
    train: Manifest
    test: Manifest
    leaks_speakers: bool = False
    selects_on_test: bool = False
    protocol: dict | None = dataclasses.field(default=None, compare=False)
    place: tuple[int, int] | None = dataclasses.field(
        default=None, compare=False
    )

    def __post_init__(self):
        if not self.leaks_speakers:
            check_disjoint(self.train, self.test)
        tested = {u.id for u in self.test}
        shared = {u.id for u in self.train if u.id in tested}
        if shared:
            raise ValueError(
                f"Fold {self.name!r} must not have an utterance in both parts. "
                f"Received {len(shared)}: {shortened(sorted(shared))}"
            )

    @property
    def overstates(self) -> bool:
        """Whether a score on this fold overstates that for new speakers."""
        return self.leaks_speakers or self.selects_on_test


def check_disjoint(first, second):
    """Raises `SpeakerOverlapError` if two manifests share a speaker.

    Speakers of two corpora are different people even with the same name, such
    as 03 of EMO-DB and 03 of RAVDESS.

    Args:
        first: `Manifest`.
        second: `Manifest`.
    """
    named = [{(u.corpus, u.speaker) for u in part} for part in (first, second)]
    if any(corpus is None for part in named for corpus, _ in part):
        named = [{(None, speaker) for _, speaker in part} for part in named]
    shared = sorted(speaker for _, speaker in named[0] & named[1])
    if shared:
        raise SpeakerOverlapError(
            "The two parts must have different speakers, or the score is no "
            "estimate for new ones. Received shared speakers: "
            f"{shortened(shared, 10)}"
        )


def check_classes(fold, test=False):
    """Raises `ValueError` if a part of a fold lacks a class.

    Args:
        fold: `Fold`.
        test: Whether the test part must have every class as well. A class
            that is not in the training part cannot be learned; but a test
            speaker may lack one (speaker 08 of EMO-DB has no disgust), as
            scores are pooled over all folds.
    """
    for part in ("train", "test") if test else ("train",):
        counts = getattr(fold, part).counts()
        missing = [label for label, count in counts.items() if not count]
        if missing:
            raise ValueError(
                f"Fold {fold.name!r} must have every class in its {part} "
                f"part. Missing: {missing}. Received counts: {counts}. Select "
                "fewer labels or hold out other speakers."
            )


def leave_one_speaker_out(manifest: Manifest) -> list[Fold]:
    """One fold for each speaker, in sorted order.

    Args:
        manifest: `Manifest`.

    Returns:
        List of `Fold`.

    Raises:
        ValueError: There is one speaker only.

    >>> from ser_keras.corpora.manifest import Utterance
    >>> manifest = Manifest([Utterance(s, s, "anger", s) for s in "cab"])
    >>> [(fold.name, fold.train.speakers)
    ...  for fold in leave_one_speaker_out(manifest)]
    [('a', ('b', 'c')), ('b', ('a', 'c')), ('c', ('a', 'b'))]
    """
    return _hold_out_each(manifest, [(s,) for s in manifest.speakers])


def leave_one_session_out(manifest: Manifest) -> list[Fold]:
    """One fold for each session, in sorted order.

    Args:
        manifest: `Manifest`.

    Returns:
        List of `Fold`.

    Raises:
        ValueError: An utterance has no session, or there is one session only.
        SpeakerOverlapError: A speaker is in two sessions.
    """
    without = [u.id for u in manifest if u.session is None]
    if without or len(manifest.sessions) < 2:
        raise ValueError(
            "`manifest` must have at least two sessions and a session for "
            f"every utterance. Received: sessions {manifest.sessions}, "
            f"{len(without)} utterances without session: {shortened(without)}"
        )
    return [
        Fold(
            name,
            manifest.select(sessions=set(manifest.sessions) - {name}),
            manifest.select(sessions=name),
        )
        for name in manifest.sessions
    ]


def speaker_groups(
    manifest: Manifest, groups: int | Sequence[Sequence[str]]
) -> list[Fold]:
    """One fold for each group of speakers.

    Args:
        manifest: `Manifest`.
        groups: Number of groups, or the groups as sequences of speakers. A
            number makes groups of consecutive speakers of each sex, whose
            sizes differ by at most one: five groups of EMO-DB are 03 08, 09 10,
            11 13, 12 14 and 15 16; six of RAVDESS are four consecutive actors
            each.

    Returns:
        List of `Fold`, named by their speakers, as in `"03+08"`.

    Raises:
        ValueError: The groups do not have every speaker exactly once, or there
            are fewer than two groups or more groups than speakers.
    """
    if isinstance(groups, int):
        groups = _even_groups(manifest, groups)
    groups = [tuple(sorted(group)) for group in groups]
    given = sorted(speaker for group in groups for speaker in group)
    if given != list(manifest.speakers) or len(groups) < 2 or () in groups:
        raise ValueError(
            "`groups` must be two or more groups that have every speaker of "
            f"{manifest.speakers} exactly once. Received: groups={groups}"
        )
    return _hold_out_each(manifest, groups)


def partition_folds(
    manifest: Manifest,
    train: Sequence[str] = ("train",),
    test: Sequence[str] = ("test1",),
) -> list[Fold]:
    """One fold for each test partition of the original release.

    Args:
        manifest: `Manifest` whose utterances have a `partition`.
        train: Names of the partitions to train on.
        test: Names of the partitions to test on.

    Returns:
        List of `Fold`.

    Raises:
        ValueError: There is no such partition.
        SpeakerOverlapError: A speaker is in both parts.
    """
    known = sorted({u.partition for u in manifest} - {None})
    missing = [name for name in (*train, *test) if name not in known]
    if missing:
        raise ValueError(
            f"The manifest must have the partitions {train} and {test}. "
            f"Missing: {missing}. Received: {known}, as of another release."
        )

    def part(names):
        return manifest.subset(u for u in manifest if u.partition in names)

    return [Fold(name, part(train), part((name,))) for name in test]


def random_folds_shared_speakers(
    manifest: Manifest,
    folds: int = 5,
    seed: int = 0,
    select_on_test: bool = False,
) -> list[Fold]:
    """Speaker-dependent folds of shuffled utterances.

    Only to reproduce published figures: test speakers are in training, so that
    scores are no estimate for new speakers.

    Args:
        manifest: `Manifest`.
        folds: Number of folds.
        seed: Seed of the shuffling.
        select_on_test: Whether the epoch is selected on the test part.

    Returns:
        List of `Fold`, with `leaks_speakers`.

    Raises:
        ValueError: There are fewer than two folds, or more than utterances.

    >>> from ser_keras.corpora.manifest import Utterance
    >>> manifest = Manifest([Utterance(s, s, "anger", "03") for s in "cab"])
    >>> fold = random_folds_shared_speakers(manifest, folds=3)[0]
    >>> fold.name, len(fold.train), fold.overstates
    ('random1', 2, True)
    """
    if not 2 <= folds <= len(manifest):
        raise ValueError(
            "`folds` must be between 2 and the number of utterances, "
            f"{len(manifest)}. Received: folds={folds}"
        )
    utterances = sorted(manifest, key=lambda u: u.id)
    order = np.random.default_rng(seed).permutation(len(utterances))
    parts = [
        {utterances[row].id for row in part}
        for part in np.array_split(order, folds)
    ]
    return [
        Fold(
            f"random{number}",
            manifest.subset(u for u in manifest if u.id not in part),
            manifest.subset(u for u in manifest if u.id in part),
            leaks_speakers=True,
            selects_on_test=select_on_test,
        )
        for number, part in enumerate(parts, start=1)
    ]


def hold_out_speakers(
    train: Manifest,
    count: int | None = None,
    fraction: float | None = None,
    seed: int = 0,
) -> tuple[Manifest, Manifest]:
    """Holds out some training speakers, for instance to select the epoch.

    Args:
        train: `Manifest` of the training part.
        count: Number of speakers to hold out, or None.
        fraction: Proportion of the speakers to hold out (at least one speaker);
            one of `count` and `fraction` must be given.
        seed: Seed of the choice of speakers.

    Returns:
        `(fit, held_out)`, two manifests. As many of one sex as of the other are
        held out, as far as the speakers allow.

    Raises:
        ValueError: No speaker or every speaker would be held out, or not one
            of `count` and `fraction` is given.
    """
    speakers = train.speakers
    if (count is None) == (fraction is None):
        raise ValueError(
            "One of `count` and `fraction` must be given. Received: "
            f"count={count}, fraction={fraction}"
        )
    if count is None:
        count = max(1, round((fraction or 0) * len(speakers)))
    if not 1 <= count < len(speakers):
        raise ValueError(
            "At least one and at most all but one of the speakers must be held "
            f"out. Received: {count} of {len(speakers)} speakers"
        )
    columns = _shuffled_by_sex(train, np.random.default_rng(seed))
    # The larger sex first, so that an odd speaker comes from it.
    columns = sorted(columns, key=len, reverse=True)
    queue = [
        column[row]
        for row in range(len(columns[0]))
        for column in columns
        if row < len(column)
    ]
    return _complement(train, queue[:count])


def halves(train: Manifest, seed: int = 0) -> tuple[Manifest, Manifest]:
    """Two halves without a common speaker, for the two levels of a search.

    Both sexes are divided as evenly as possible. Of 64 random divisions, the
    one whose halves have the most similar counts of every class is taken. Of a
    single speaker, the utterances of each class are divided, with a warning.

    Args:
        train: `Manifest`.
        seed: Seed of the random divisions.

    Returns:
        Tuple of two manifests.
    """
    rng = np.random.default_rng(seed)
    if len(train.speakers) < 2:
        warnings.warn(
            "BOTH HALVES OF THE SEARCH ARE OF ONE SPEAKER: there is a single "
            f"training speaker, {train.speakers[0]}.",
            stacklevel=2,
        )
        rows = rng.permutation(len(train))
        # Stable, so that those of a class stay shuffled.
        rows = rows[np.argsort(train.label_ids[rows], kind="stable")].tolist()
        one = frozenset(rows[::2])
        return (
            train.subset(u for i, u in enumerate(train) if i in one),
            train.subset(u for i, u in enumerate(train) if i not in one),
        )
    rows = dict.fromkeys(train.speakers, 0)
    one_hot = np.eye(len(train.labels), dtype=int)
    for utterance, label in zip(train, train.label_ids, strict=True):
        rows[utterance.speaker] = rows[utterance.speaker] + one_hot[label]
    total = sum(rows.values())
    best, best_gap = None, np.inf
    for _ in range(64):
        # Every other speaker, of one sex after the other.
        shuffled = [s for sex in _shuffled_by_sex(train, rng) for s in sex]
        first = shuffled[::2]
        gap = np.abs(total - 2 * sum(rows[s] for s in first)).sum()
        if gap < best_gap:
            best, best_gap = first, gap
    second, first = _complement(train, best)
    return first, second


def _hold_out_each(manifest, groups):
    if len(groups) < 2:
        raise ValueError(
            "Folds need at least two speakers. Received: speakers="
            f"{manifest.speakers}"
        )
    folds = []
    for group in groups:
        train, test = _complement(manifest, group)
        folds.append(Fold("+".join(group), train, test))
    return folds


def _complement(manifest, speakers):
    taken = frozenset(speakers)
    rest = [s for s in manifest.speakers if s not in taken]
    return manifest.select(speakers=rest), manifest.select(speakers=speakers)


def _by_sex(manifest):
    sex = {u.speaker: u.sex for u in manifest}
    lists = collections.defaultdict(list)
    for speaker in manifest.speakers:
        lists[sex[speaker] or ""].append(speaker)
    return [lists[key] for key in sorted(lists)]


def _shuffled_by_sex(manifest, rng):
    return [rng.permutation(group).tolist() for group in _by_sex(manifest)]


def _even_groups(manifest, number):
    groups = [[] for _ in range(max(number, 0))]
    if not 2 <= number <= len(manifest.speakers):
        raise ValueError(
            "`groups` must be between 2 and the number of speakers, "
            f"{len(manifest.speakers)}. Received: groups={number}"
        )
    extra = 0  # The group that gets the next surplus speaker.
    for column in _by_sex(manifest):
        size, rest = divmod(len(column), number)
        sizes = [size] * number
        for i in range(rest):
            sizes[(extra + i) % number] += 1
        extra += rest
        for group, n in zip(groups, sizes, strict=True):
            group += column[:n]
            column = column[n:]
    return groups
