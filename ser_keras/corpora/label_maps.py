"""Label maps: classes that several corpora have in common.

The parsers use the same name for the same emotion, so a map says only which
classes are kept, in which order, and which labels are merged. Labels that a map
does not name are left out: calm does not become neutral, nor boredom sadness,
unless a map of your own says so.
"""

import collections
import dataclasses
from collections.abc import Mapping
from collections.abc import Sequence

from ser_keras._errors import shortened
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.reading import Reading
from ser_keras.corpora.spelling import emotion_of

LABEL_MAPS = {
    "4": {
        "neutral": ("neutral",),
        "happiness": ("happiness", "excitement"),
        "sadness": ("sadness",),
        "anger": ("anger",),
    },
}
"""Dict from the name of a map to a dict from each class, in order, to the
labels that become it. `"4"` has IEMOCAP's usual classes, `"6"` and `"7"` add
fear, disgust and surprise, `"8"` has RAVDESS' classes and `"8-contempt"` those
of MSP-Podcast."""
LABEL_MAPS["6"] = LABEL_MAPS["4"] | {
    "fear": ("fear",),
    "disgust": ("disgust",),
}
LABEL_MAPS["7"] = LABEL_MAPS["6"] | {"surprise": ("surprise",)}
LABEL_MAPS["8"] = LABEL_MAPS["7"] | {"calm": ("calm",)}
LABEL_MAPS["8-contempt"] = LABEL_MAPS["7"] | {"contempt": ("contempt",)}


def map_labels(
    manifest: Manifest, label_map: str | Mapping[str, Sequence[str]]
) -> Manifest:
    """Maps labels to the classes of a label map; other utterances are left out.

    Args:
        manifest: `Manifest`, of one corpus or of several.
        label_map: Name of one of `LABEL_MAPS`, or such a dict.

    Returns:
        `Manifest` with all classes of the map, in its order; a class may
        have no utterance. Its `reading` counts what is left out.

    Raises:
        ValueError: There is no such map, it has a label twice, or no utterance
            is left.

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
            "`label_map` must map each label to one class only. Received "
            f"twice: {twice}"
        )
    class_of = {old: new for new, labels in label_map.items() for old in labels}
    # Another word for a label of the map, such as `angry`.
    notes = []
    for label in manifest.labels:
        if label not in class_of and emotion_of(label) in class_of:
            class_of[label] = class_of[emotion_of(label)]
            notes.append(f"label {label!r} is read as {emotion_of(label)!r}")
    kept = [
        dataclasses.replace(u, label=class_of[u.label])
        for u in manifest
        if u.label in class_of
    ]
    left_out = {
        f"label {label}, not in the label map": number
        for label, number in manifest.counts().items()
        if label not in class_of
    }
    if not kept:
        raise ValueError(
            f"`label_map` must have a class for one of the manifest's labels, "
            f"{manifest.labels}. Received: a map of {sorted(class_of)}"
        )
    reading = (manifest.reading or Reading()).add(left_out, notes=tuple(notes))
    return Manifest(kept, tuple(label_map), reading)


def combine_corpora(manifests: Sequence[Manifest]) -> Manifest:
    """Combines several corpora into one manifest.

    Ids, speakers and sessions get the name of the corpus as a prefix, as in
    `"emodb-03"`, because speaker 03 of EMO-DB is not speaker 03 of RAVDESS.

    Args:
        manifests: Sequence of manifests whose utterances have a `corpus`.

    Returns:
        `Manifest` with all labels, in the order of their first occurrence.

    Raises:
        ValueError: An utterance has no corpus, or an id occurs twice.
    """
    utterances = []
    reading = Reading()
    for manifest in manifests:
        without = [u.id for u in manifest if u.corpus is None]
        if without:
            raise ValueError(
                "Every utterance must have a `corpus`, which becomes a prefix "
                f"of its id. Received: {len(without)} without: "
                f"{shortened(without)}"
            )
        if manifest.reading is not None:
            name, one = manifest[0].corpus, manifest.reading
            reading = reading.add(
                {f"{name}: {what}": n for what, n in one.left_out.items()},
                tuple(f"{name}: {text}" for text in one.missing),
                tuple(f"{name}: {text}" for text in one.notes),
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
    return Manifest(utterances, tuple(labels), reading)
