"""Classes that corpora have in common, as data.

The parsers of `ser_keras.corpora` use one name for one emotion, so a map says
only which classes are kept, in which order, and what is merged. A label
that a map does not name is left out: calm is not neutral, and boredom is not
sadness, unless a map of the user's own says so.
"""

import collections
import dataclasses

from ser_keras.corpora.manifest import Manifest

LABEL_MAPS = {
    "4": {
        "neutral": ("neutral",),
        "happiness": ("happiness", "excitement"),
        "sadness": ("sadness",),
        "anger": ("anger",),
    },
}
"""Dict from the name of a map to a dict from each of its classes, in order, to
the labels that count as it. `"4"` are IEMOCAP's usual classes, `"6"` and `"7"`
add fear, disgust and surprise, `"8"` are RAVDESS' classes and `"8-contempt"`
those of MSP-Podcast."""
LABEL_MAPS["6"] = LABEL_MAPS["4"] | {
    "fear": ("fear",),
    "disgust": ("disgust",),
}
LABEL_MAPS["7"] = LABEL_MAPS["6"] | {"surprise": ("surprise",)}
LABEL_MAPS["8"] = LABEL_MAPS["7"] | {"calm": ("calm",)}
LABEL_MAPS["8-contempt"] = LABEL_MAPS["7"] | {"contempt": ("contempt",)}


def map_labels(manifest, label_map):
    """The utterances that a label map has a class for, with its classes.

    Args:
        manifest: `Manifest`, of one corpus or of several.
        label_map: Name of one of `LABEL_MAPS`, or such a dict.

    Returns:
        `Manifest` with all classes of the map, in its order; a class may
        have no utterance.

    Raises:
        ValueError: There is no such map, it counts a label twice, or it leaves
            no utterance.

    >>> from ser_keras.corpora.manifest import Utterance
    >>> manifest = Manifest(
    ...     [Utterance("a", "a.wav", "excitement", "03"),
    ...      Utterance("b", "b.wav", "boredom", "03")])
    >>> map_labels(manifest, "4").counts()
    {'neutral': 0, 'happiness': 1, 'sadness': 0, 'anger': 0}
    """
    if isinstance(label_map, str):
        if label_map not in LABEL_MAPS:
            raise ValueError(
                f"`label_map` must be one of {sorted(LABEL_MAPS)} or a dict. "
                f"Received: label_map={label_map!r}"
            )
        label_map = LABEL_MAPS[label_map]
    count = collections.Counter(x for old in label_map.values() for x in old)
    twice = sorted(label for label, times in count.items() if times > 1)
    if twice:
        raise ValueError(
            "A label map must count a label as one class only. Received "
            f"twice: {twice}"
        )
    class_of = {old: new for new, labels in label_map.items() for old in labels}
    kept = [
        dataclasses.replace(u, label=class_of[u.label])
        for u in manifest
        if u.label in class_of
    ]
    if not kept:
        raise ValueError(
            f"The label map has a class for {sorted(class_of)}, but the "
            f"manifest has only {manifest.labels}."
        )
    return Manifest(kept, tuple(label_map))


def combine_corpora(manifests):
    """One manifest of several corpora, with names that stay different.

    Ids, speakers and sessions get the corpus' name in front, because speaker
    03 of EMO-DB is not speaker 03 of RAVDESS: `"emodb-03"`.

    Args:
        manifests: Sequence of manifests whose utterances know their corpus.

    Returns:
        `Manifest`; its labels are all labels, in the order of the first
        manifest that has them.

    Raises:
        ValueError: An utterance has no corpus, or an id is there twice.
    """
    utterances = []
    for manifest in manifests:
        without = [u.id for u in manifest if u.corpus is None]
        if without:
            raise ValueError(
                "Every utterance must have a corpus to be told from others. "
                f"Received {len(without)} without, first {without[:3]}"
            )
        utterances += [
            dataclasses.replace(
                u,
                id=f"{u.corpus}-{u.id}",
                speaker=f"{u.corpus}-{u.speaker}",
                session=u.session and f"{u.corpus}-{u.session}",
            )
            for u in manifest
        ]
    labels = dict.fromkeys(x for manifest in manifests for x in manifest.labels)
    return Manifest(utterances, tuple(labels))
