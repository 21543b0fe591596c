"""Folds, groups, held-out speakers and search halves.

Every function looks at sorted speakers and a seed only, so that no split
depends on the order in which files were found.
"""

import collections
import dataclasses

import numpy as np

from ser_keras.corpora.manifest import Manifest


class SpeakerOverlapError(ValueError):
    """Two parts that must have different speakers share some."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """A training part and a test part that share no speaker.

    Published figures often come from folds that do share speakers, or whose
    epoch was picked on the test part. To repeat such a figure, a fold can say
    so; whatever is made of it says so as well.

    Args:
        name: What is held out, for instance `"Ses05"` or `"03+08"`.
        train: Manifest.
        test: Manifest.
        leaks_speakers: Whether both parts may have the same speakers.
        selects_on_test: Whether the epoch is to be picked on the test part.
        protocol: Name, facts and hash of the named protocol that made it, if
            one did. It is said of whatever is made of the fold.

    Raises:
        SpeakerOverlapError: The parts share a speaker and the fold does not
            say so.
        ValueError: They share an utterance.
    """

    name: str
    train: Manifest
    test: Manifest
    leaks_speakers: bool = False
    selects_on_test: bool = False
    protocol: dict | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self):
        if not self.leaks_speakers:
            check_disjoint(self.train, self.test)
        shared = {u.id for u in self.train} & {u.id for u in self.test}
        if shared:
            raise ValueError(
                f"Fold {self.name!r} must not test what it trains on. "
                f"Received {len(shared)} shared utterances, first "
                f"{sorted(shared)[:3]}"
            )

    @property
    def overstates(self):
        """Whether a score on this fold is too good to be true."""
        return self.leaks_speakers or self.selects_on_test


def check_disjoint(first, second):
    """Raises `SpeakerOverlapError` if two manifests share a speaker.

    Speakers of two known corpora are different people, whatever they are
    called: there is a speaker 03 in EMO-DB and another one in RAVDESS.
    """
    known = {u.corpus for part in (first, second) for u in part}
    named = [
        {(None if None in known else u.corpus, u.speaker) for u in part}
        for part in (first, second)
    ]
    shared = sorted(speaker for _, speaker in named[0] & named[1])
    if shared:
        more = f" and {len(shared) - 10} more" if len(shared) > 10 else ""
        raise SpeakerOverlapError(
            "The two parts must have different speakers, or the score says "
            "nothing about new ones. Received shared speakers: "
            f"{shared[:10]}{more}"
        )


def check_classes(fold, test=False):
    """Raises `ValueError` if a class of a fold has no utterance.

    Args:
        fold: `Fold`.
        test: Whether the test part must have every class as well. A network
            cannot learn a class that is not in its training part; but a test
            speaker may well lack one (speaker 08 of EMO-DB shows no disgust),
            which scores over all folds together can bear.
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


def leave_one_speaker_out(manifest):
    """One fold for each speaker, in sorted order.

    >>> from ser_keras.corpora.manifest import Utterance
    >>> manifest = Manifest([Utterance(s, s, "anger", s) for s in "cab"])
    >>> [(fold.name, fold.train.speakers)
    ...  for fold in leave_one_speaker_out(manifest)]
    [('a', ('b', 'c')), ('b', ('a', 'c')), ('c', ('a', 'b'))]
    """
    return _hold_out_each(manifest, [(s,) for s in manifest.speakers])


def leave_one_session_out(manifest):
    """One fold for each session, in sorted order.

    Raises:
        ValueError: If an utterance has no session or there is one only.
        SpeakerOverlapError: If a speaker is in two sessions.
    """
    without = [u.id for u in manifest if u.session is None]
    if without or len(manifest.sessions) < 2:
        raise ValueError(
            "`manifest` must have at least two sessions and a session for "
            f"every utterance. Received: sessions {manifest.sessions}, "
            f"{len(without)} utterances without session, first {without[:3]}"
        )
    return [
        Fold(
            name,
            manifest.select(sessions=set(manifest.sessions) - {name}),
            manifest.select(sessions=name),
        )
        for name in manifest.sessions
    ]


def speaker_groups(manifest, groups):
    """One fold for each group of speakers.

    Args:
        manifest: Manifest.
        groups: Number of groups, or the groups themselves as sequences of
            speakers. With a number, consecutive speakers of each sex go
            together, and groups differ by at most one speaker in size: five
            groups of EMO-DB are 03 08, 09 10, 11 13, 12 14 and 15 16; six of
            RAVDESS are four consecutive actors each.

    Returns:
        List of `Fold`, named by their speakers, as in `"03+08"`.

    Raises:
        ValueError: If explicit groups do not hold every speaker exactly once,
            or there are fewer than two groups or more groups than speakers.
    """
    if isinstance(groups, int):
        groups = _even_groups(manifest, groups)
    groups = [tuple(sorted(group)) for group in groups]
    given = sorted(speaker for group in groups for speaker in group)
    if given != list(manifest.speakers) or len(groups) < 2 or () in groups:
        raise ValueError(
            "`groups` must be two or more groups that hold every speaker of "
            f"{manifest.speakers} exactly once. Received: groups={groups}"
        )
    return _hold_out_each(manifest, groups)


def partition_folds(manifest, train=("train",), test=("test1",)):
    """One fold for each test part that the corpus' owners made.

    Args:
        manifest: Manifest.
        train: Names of the parts to train on.
        test: Names of the parts to test on.

    Raises:
        ValueError: If there is no such part.
        SpeakerOverlapError: If a speaker is in both.
    """
    known = sorted({u.partition for u in manifest} - {None})
    missing = [name for name in (*train, *test) if name not in known]
    if missing:
        raise ValueError(
            f"The manifest must have the partitions {train} and {test}. "
            f"Missing: {missing}. Received: {known}. Is it another release?"
        )

    def part(names):
        chosen = [u for u in manifest if u.partition in names]
        return Manifest(chosen, manifest.labels)

    return [Fold(name, part(train), part((name,))) for name in test]


def random_folds_shared_speakers(
    manifest, folds=5, seed=0, select_on_test=False
):
    """Folds of shuffled utterances: every test speaker is trained on, too.

    Only to repeat published figures. What is measured so is how well the
    network knows the voices it has heard.

    Args:
        manifest: Manifest.
        folds: Number of folds.
        seed: Of the shuffling.
        select_on_test: Whether the epoch is to be picked on the test part.

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
            Manifest([u for u in manifest if u.id not in part], labels),
            Manifest([u for u in manifest if u.id in part], labels),
            leaks_speakers=True,
            selects_on_test=select_on_test,
        )
        for labels in [manifest.labels]
        for number, part in enumerate(parts, start=1)
    ]


def hold_out_speakers(train, count=None, fraction=None, seed=0):
    """Holds out some training speakers, for instance to choose the epoch.

    Args:
        train: Manifest of the training part.
        count: How many speakers to hold out, or None.
        fraction: Which fraction of the speakers to hold out (at least one);
            one of `count` and `fraction` must be given.
        seed: Which speakers are taken.

    Returns:
        `(fit, held_out)`, two manifests. Both sexes are held out in equal
        numbers as far as the speakers allow.
    """
    speakers = train.speakers
    if (count is None) == (fraction is None):
        raise ValueError("One of `count` and `fraction` must be given.")
    if count is None:
        count = max(1, round(fraction * len(speakers)))
    if not 1 <= count < len(speakers):
        raise ValueError(
            "Between 1 and all but one of the speakers must be held out. "
            f"Received: {count} of {len(speakers)} speakers"
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


def halves(train, seed=0):
    """Two halves without a common speaker, as the search needs them.

    Both sexes are divided as evenly as possible. Among such divisions, some
    are drawn at random and the one whose halves have the most similar counts
    of every class is taken.

    Args:
        train: Manifest.
        seed: Which divisions are drawn.

    Returns:
        Tuple of two manifests.
    """
    if len(train.speakers) < 2:
        raise ValueError(
            "The search needs two halves with different speakers. Received a "
            f"manifest with one speaker only: {train.speakers}"
        )
    rng = np.random.default_rng(seed)
    rows = dict.fromkeys(train.speakers, 0)
    one_hot = np.eye(len(train.labels), dtype=int)
    for utterance, label in zip(train, train.label_ids, strict=True):
        rows[utterance.speaker] = rows[utterance.speaker] + one_hot[label]
    total = sum(rows.values())
    best, best_gap = None, np.inf
    for _ in range(64):
        # Dealt out like cards, one sex after the other.
        dealt = [s for sex in _shuffled_by_sex(train, rng) for s in sex]
        first = dealt[::2]
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
    extra = 0  # The group that takes the next speaker too many.
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
