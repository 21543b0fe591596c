import itertools

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.augmentation.layers import SpecAugment
from ser_keras.audio.augmentation.layers import TimeStretch
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.dataset import bilevel
from ser_keras.features.dataset import class_weights
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.protocols.splits import SpeakerOverlapError

SIZE = 23
LABELS = ("anger", "neutral", "sadness")


def clips(speakers=("a", "b"), size=SIZE, longest=30):
    """Frame t of utterance i is [100 i + t + 1, -(100 i + t + 1)]."""
    rng = np.random.default_rng(0)
    utterances, arrays = [], []
    for i in range(size):
        name = f"{speakers[0]}{i}"
        speaker = speakers[i % len(speakers)]
        utterances.append(Utterance(name, name, LABELS[i % 3], speaker))
        frames = 100.0 * i + np.arange(rng.integers(4, longest)) + 1
        arrays.append(np.stack([frames, -frames], axis=1))
    return FeatureSet(Manifest(utterances, LABELS), arrays)


def batches(dataset, number=None):
    return [
        tuple(part.numpy() for part in batch)
        for batch in itertools.islice(dataset, number)
    ]


def identities(x):
    return (x[:, 0, 0, 0] // 100).astype(int).tolist()


def equal(first, second):
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        for part, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(part, other)


def noise(x, seed):
    return x + tf.random.stateless_normal(tf.shape(x), seed)


def test_one_pass_in_order_has_every_utterance_once():
    features = clips()
    dataset = make_dataset(features, 4, duration_frames=10)
    assert dataset.cardinality() == dataset.steps_per_epoch == 6
    assert dataset.element_spec[0].shape.as_list() == [None, 10, 2, 1]
    assert [spec.dtype for spec in dataset.element_spec] == ["float32", "int32"]
    got = batches(dataset)
    rows = [i for x, _ in got for i in identities(x)]
    assert rows == list(range(SIZE))
    labels = np.concatenate([y for _, y in got])
    np.testing.assert_array_equal(labels, features.manifest.label_ids)
    equal(got, batches(dataset))


def test_center_crop_and_padding_against_numpy():
    features = clips()
    x = np.concatenate(
        [x for x, _ in batches(make_dataset(features, 5, duration_frames=10))]
    )
    for array, got in zip(features.arrays, x[..., 0], strict=True):
        first = max(len(array) - 10, 0) // 2
        expected = np.zeros((10, 2))
        expected[: len(array)] = array[first : first + 10]
        np.testing.assert_array_equal(got, expected)


def test_without_duration_all_frames_are_there():
    features = clips()
    ((x, _),) = batches(make_dataset(features, SIZE))
    assert x.shape == (SIZE, features.max_length, 2, 1)
    for array, got in zip(features.arrays, x[..., 0], strict=True):
        np.testing.assert_array_equal(got[: len(array)], array)
        assert not got[len(array) :].any()


def test_shuffled_epochs():
    features = clips()
    dataset = make_dataset(features, 4, shuffle=True, duration_frames=10)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert dataset.steps_per_epoch == 6
    got = batches(dataset, 18)
    epochs = [
        [i for x, _ in got[k : k + 6] for i in identities(x)]
        for k in (0, 6, 12)
    ]
    for epoch in epochs:
        assert sorted(epoch) == list(range(SIZE))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    for x, y in got:
        expected = features.manifest.label_ids[identities(x)]
        np.testing.assert_array_equal(y, expected)


def test_random_crops_are_parts_of_the_clip_and_reach_its_ends():
    features = clips(size=3)
    features = FeatureSet(
        features.manifest,
        [np.arange(100 * i + 1, 100 * i + 8)[:, None] for i in range(3)],
    )
    dataset = make_dataset(features, 3, shuffle=True, duration_frames=5)
    firsts = set()
    for x, _ in batches(dataset, 40):
        steps = np.diff(x[:, :, 0, 0], axis=1)
        np.testing.assert_array_equal(steps, np.ones((3, 4)))
        firsts |= set((x[:, 0, 0, 0] % 100).astype(int).tolist())
    assert firsts == {1, 2, 3}


@pytest.mark.parametrize("augment", [noise, SpecAugment(), TimeStretch()])
@pytest.mark.parametrize("drop_remainder", [False, True])
def test_resumed_stream_equals_the_uninterrupted_one(drop_remainder, augment):
    options = {
        "shuffle": True,
        "duration_frames": 10,
        "augment": augment,
        "seed": 7,
        "drop_remainder": drop_remainder,
    }
    whole = make_dataset(clips(), 4, **options)
    steps = whole.steps_per_epoch
    assert steps == (5 if drop_remainder else 6)
    resumed = make_dataset(clips(), 4, first_epoch=3, **options)
    equal(batches(whole, 5 * steps)[3 * steps :], batches(resumed, 2 * steps))


def test_resumed_stream_with_another_epoch_length():
    options = {"shuffle": True, "duration_frames": 10, "augment": noise}
    whole = make_dataset(clips(), 4, steps_per_epoch=4, **options)
    resumed = make_dataset(
        clips(), 4, steps_per_epoch=4, first_epoch=5, **options
    )
    assert resumed.steps_per_epoch == 4
    equal(batches(whole, 30)[20:], batches(resumed, 10))


def test_seed_changes_the_stream():
    streams = [
        batches(make_dataset(clips(), 4, shuffle=True, seed=seed), 6)
        for seed in (0, 0, 1)
    ]
    equal(streams[0], streams[1])
    orders = [[identities(x) for x, _ in stream] for stream in streams]
    assert orders[0] != orders[2]


def test_crop_does_not_depend_on_the_batch_size():
    def crops(batch_size):
        dataset = make_dataset(
            clips(), batch_size, shuffle=True, duration_frames=5
        )
        got = batches(dataset, dataset.steps_per_epoch)
        return sorted(float(v) for x, _ in got for v in x[:, 0, 0, 0])

    assert crops(4) == crops(7)


def test_padding_is_zero_after_augmentation():
    features = clips()
    dataset = make_dataset(
        features, 8, shuffle=True, duration_frames=20, augment=noise
    )
    plain = make_dataset(features, 8, shuffle=True, duration_frames=20)
    for (x, _), (clean, _) in zip(
        batches(dataset, 6), batches(plain, 6), strict=True
    ):
        np.testing.assert_array_equal(x == 0, clean == 0)
        assert np.abs(x - clean).max() > 0.1


def test_augmentation_differs_between_steps_and_epochs():
    features = clips(size=1)
    dataset = make_dataset(features, 1, shuffle=True, augment=noise)
    x = [x for x, _ in batches(dataset, 4)]
    assert len({array.tobytes() for array in x}) == 4


def test_drop_remainder_makes_shapes_static():
    dataset = make_dataset(
        clips(), 4, shuffle=True, drop_remainder=True, duration_frames=10
    )
    x, y = dataset.element_spec
    assert x.shape.as_list() == [4, 10, 2, 1]
    assert y.shape.as_list() == [4]


def test_class_weights():
    from sklearn.utils.class_weight import compute_class_weight

    manifest = clips().manifest
    weights = class_weights(manifest)
    expected = compute_class_weight(
        "balanced", classes=np.arange(3), y=manifest.label_ids
    )
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    dataset = make_dataset(clips(), 4, shuffle=True, class_weights=weights)
    for _, y, sample_weight in batches(dataset, 6):
        np.testing.assert_array_equal(sample_weight, weights[y])
    with pytest.raises(ValueError, match="one weight for each label"):
        make_dataset(clips(), 4, class_weights=[1.0, 2.0])
    fewer = Manifest(manifest, (*LABELS, "fear"))
    with pytest.raises(ValueError, match=r"Missing: \['fear'\]"):
        class_weights(fewer)


def test_bilevel():
    options = {"shuffle": True, "duration_frames": 10}
    first = make_dataset(clips("ab"), 4, **options)
    second = make_dataset(clips("cd", size=11), 4, **options)
    paired = bilevel(first, second)
    assert paired.steps_per_epoch == 6
    (x, y), (held_out_x, held_out_y) = next(iter(paired))
    equal([(x.numpy(), y.numpy())], batches(first, 1))
    equal([(held_out_x.numpy(), held_out_y.numpy())], batches(second, 1))
    finite = bilevel(make_dataset(clips("ab"), 4), make_dataset(clips("c"), 9))
    assert len(list(finite)) == 6


def test_bilevel_refuses_a_shared_speaker():
    with pytest.raises(SpeakerOverlapError, match=r"\['b'\]"):
        bilevel(make_dataset(clips("ab"), 4), make_dataset(clips("bc"), 4))
    # A single training speaker, as in TESS, is in both halves.
    bilevel(make_dataset(clips("a"), 4), make_dataset(clips("a"), 4))


def test_bilevel_resumes():
    def stream(first_epoch):
        options = {
            "shuffle": True,
            "duration_frames": 10,
            "first_epoch": first_epoch,
        }
        first = make_dataset(clips("ab"), 4, **options)
        second = make_dataset(
            clips("cd", size=11),
            4,
            steps_per_epoch=first.steps_per_epoch,
            **options,
        )
        return [
            tuple(part.numpy() for half in pair for part in half)
            for pair in itertools.islice(bilevel(first, second), 24)
        ]

    equal(stream(0)[12:], stream(2)[:12])
    first = make_dataset(clips("ab"), 4, shuffle=True, first_epoch=2)
    second = make_dataset(clips("cd", size=11), 4, shuffle=True, first_epoch=2)
    with pytest.raises(ValueError, match="steps_per_epoch=weights"):
        bilevel(first, second)


def test_fit_takes_it():
    import keras

    features = clips()
    train = make_dataset(features, 4, shuffle=True, duration_frames=10)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(
        train,
        validation_data=make_dataset(features, 4, duration_frames=10),
        steps_per_epoch=train.steps_per_epoch,
        epochs=2,
        verbose=0,
    )
    assert int(model.optimizer.iterations) == 12
    assert model.predict(
        make_dataset(features, 4, duration_frames=10), verbose=0
    ).shape == (SIZE, 3)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "`batch_size`"),
        ({"batch_size": 24, "drop_remainder": True}, "`batch_size`"),
        ({"batch_size": 4, "duration_frames": 0}, "`duration_frames`"),
        ({"batch_size": 4, "crop": "left"}, "`crop`"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        make_dataset(clips(), **options)


def test_manifest_without_features():
    with pytest.raises(ValueError, match="must be a FeatureSet.*23 utterances"):
        make_dataset(clips().manifest, 4)


def test_features_that_are_not_finite_are_refused_by_name():
    features = clips()
    features.arrays[4][2, 1] = np.nan
    with pytest.raises(ValueError, match="has NaN .*1 of 23 .*'a4'"):
        make_dataset(features, 4)
