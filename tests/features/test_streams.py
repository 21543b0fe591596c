import dataclasses
import itertools

import numpy as np
import pytest

from ser_keras.audio.augmentation.layers import FeatureNoise
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.dataset import bilevel
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import join
from ser_keras.features.streams import FeatureStreams

SIZE = 11
LABELS = ("anger", "neutral", "sadness")
MEL, DEEP = 100.0, 100.0 / 24  # Frames per second.


def two_streams(speakers="ab", size=SIZE, longest=200, rates=(MEL, DEEP)):
    """Every value says which utterance it is of, and its frame's second."""
    rng = np.random.default_rng(0)
    rows, arrays = [], ([], [])
    for i in range(size):
        name, speaker = f"{speakers[0]}{i}", speakers[i % len(speakers)]
        rows.append(Utterance(name, name, LABELS[i % 3], speaker))
        frames = int(rng.integers(30, longest))
        for part, rate, width in zip(arrays, (MEL, DEEP), (3, 5), strict=True):
            count = int(np.ceil(frames / MEL * rate))
            seconds = 1000.0 * (i + 1) + np.arange(count) / rate
            part.append(np.repeat(seconds[:, None], width, axis=1))
    manifest = Manifest(rows, LABELS)
    return {
        name: FeatureSet(manifest, part, frame_rate=rate)
        for name, part, rate in zip(
            ("handcrafted", "deep"), arrays, rates, strict=True
        )
    }


def batches(dataset, number=None):
    return [
        ({k: v.numpy() for k, v in x.items()}, y.numpy())
        for x, y in itertools.islice(dataset, number)
    ]


def equal(first, second):
    assert len(first) == len(second) > 0
    for (x, y), (other_x, other_y) in zip(first, second, strict=True):
        np.testing.assert_array_equal(y, other_y)
        assert x.keys() == other_x.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], other_x[name])


def test_whole_clips_of_both_streams_with_zeros_after_their_ends():
    streams = two_streams()
    dataset = make_dataset(streams, 4)
    spec, _ = dataset.element_spec
    longest = streams["handcrafted"].max_length
    assert spec["handcrafted"].shape.as_list() == [None, longest, 3, 1]
    assert spec["deep"].shape[2:] == (5, 1)
    got = batches(dataset)
    labels = np.concatenate([y for _, y in got])
    np.testing.assert_array_equal(labels, streams["deep"].manifest.label_ids)
    for name, features in streams.items():
        clips = np.concatenate([x[name] for x, _ in got])
        for array, clip in zip(features.arrays, clips[..., 0], strict=True):
            np.testing.assert_array_equal(clip[: len(array)], array)
            assert not clip[len(array) :].any()


@pytest.mark.parametrize("crop", ["random", "center"])
@pytest.mark.parametrize("order", [1, -1])
def test_crops_are_of_the_same_utterance_and_seconds(crop, order):
    streams = dict(list(two_streams().items())[::order])
    duration = {"handcrafted": 60, "deep": 3}
    dataset = make_dataset(
        streams, 4, duration_frames=duration, crop=crop, shuffle=True
    )
    firsts = set()
    for x, _ in batches(dataset, 30):
        starts = {name: x[name][:, 0, 0, 0] for name in x}
        spare = x["deep"].any(axis=(2, 3)).all(axis=1)
        difference = np.abs(starts["handcrafted"] - starts["deep"])
        # A clip that ends before the deep crop does has nothing to shift.
        assert (difference[spare] <= 0.5 / DEEP + 1e-3).all()
        assert (difference < 1).all()
        firsts |= set(starts["handcrafted"] % 1000)
    assert (len(firsts) > 30) == (crop == "random")


def test_one_number_of_frames_is_the_first_streams():
    x, _ = make_dataset(two_streams(), 2, duration_frames=100).element_spec
    assert x["handcrafted"].shape[1] == 100
    assert x["deep"].shape[1] == 5  # 1 s of 4.17 frames a second.
    x, _ = make_dataset(
        dict(reversed(two_streams().items())), 2, duration_frames=5
    ).element_spec
    assert (x["deep"].shape[1], x["handcrafted"].shape[1]) == (5, 120)


def test_stream_of_summaries_is_never_cropped():
    streams = two_streams(rates=(None, None))
    manifest = streams["deep"].manifest
    summary = FeatureSet(
        manifest, [np.full((1, 7), i + 1) for i in range(SIZE)]
    )
    streams = {"summary": summary, "mel": streams["handcrafted"]}
    durations = {"summary": 1, "mel": 10}
    dataset = make_dataset(
        streams, SIZE, duration_frames=durations, crop="center"
    )
    ((x, _),) = batches(dataset)
    np.testing.assert_array_equal(x["summary"][:, 0, 0, 0], np.arange(SIZE) + 1)
    middle = [a[(len(a) - 10) // 2, 0] for a in streams["mel"].arrays]
    np.testing.assert_array_equal(x["mel"][:, 0, 0, 0], middle)


def test_one_stream_of_a_dict_is_that_feature_set():
    features = two_streams()["handcrafted"]
    options = {
        "duration_frames": 40,
        "shuffle": True,
        "augment": FeatureNoise(),
    }
    alone = make_dataset(features, 4, **options)
    named = make_dataset({"only": features}, 4, **options)
    for (x, y), (other, labels) in zip(
        alone.take(5), named.take(5), strict=True
    ):
        np.testing.assert_array_equal(x, other["only"])
        np.testing.assert_array_equal(y, labels)


def test_resumed_stream_equals_the_uninterrupted_one():
    noise = FeatureNoise()
    options = {
        "shuffle": True,
        "duration_frames": 50,
        "augment": {"handcrafted": noise, "deep": noise},
    }
    whole = make_dataset(two_streams(), 4, **options)
    resumed = make_dataset(two_streams(), 4, first_epoch=2, **options)
    equal(batches(whole, 9)[6:], batches(resumed, 3))


def test_augmentation_is_of_the_stream_it_names():
    streams = two_streams()
    plain = batches(make_dataset(streams, SIZE))
    for augment, changed in (
        (FeatureNoise(), "handcrafted"),
        ({"deep": FeatureNoise()}, "deep"),
    ):
        ((x, _),) = batches(make_dataset(streams, SIZE, augment=augment))
        for name in streams:
            same = np.array_equal(x[name], plain[0][0][name])
            assert same == (name != changed)
            # Padding stays zero.
            np.testing.assert_array_equal(x[name] == 0, plain[0][0][name] == 0)
    with pytest.raises(ValueError, match="name streams of .*'mel'"):
        make_dataset(streams, 4, augment={"mel": FeatureNoise()})


def test_halves_of_a_search_and_fit_take_it():
    import keras

    first = make_dataset(two_streams("ab"), 4, shuffle=True)
    second = make_dataset(two_streams("cd"), 4, shuffle=True)
    (x, y), (other, labels) = next(iter(bilevel(first, second)))
    equal(
        [({k: v.numpy() for k, v in x.items()}, y.numpy())], batches(first, 1)
    )
    assert other.keys() == {"handcrafted", "deep"}

    inputs = {
        "handcrafted": keras.Input((60, 3, 1), name="handcrafted"),
        "deep": keras.Input((3, 5, 1), name="deep"),
    }
    flat = [keras.layers.Flatten()(x) for x in inputs.values()]
    outputs = keras.layers.Dense(3)(keras.layers.Concatenate()(flat))
    model = keras.Model(inputs, outputs)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    options = {"duration_frames": {"handcrafted": 60, "deep": 3}}
    train = make_dataset(two_streams(), 4, shuffle=True, **options)
    model.fit(train, steps_per_epoch=3, verbose=0)
    test = make_dataset(two_streams(), 4, **options)
    assert model.predict(test, verbose=0).shape == (SIZE, 3)


def test_select_and_join_keep_streams_together():
    streams = FeatureStreams(two_streams())
    part = streams.select(streams.manifest[3:6])
    assert [u.id for u in part.manifest] == ["a3", "a4", "a5"]
    assert part.streams["deep"].frame_rate == DEEP
    twice = join([part, part])
    assert [u.id for u in twice.manifest][2:4] == ["a5", "a3@1"]
    assert twice.streams["handcrafted"].frame_rate == MEL
    assert len(twice) == 6


def changed(features, **options):
    rows = list(features.manifest)
    rows[3] = dataclasses.replace(rows[3], **options)
    return dataclasses.replace(features, manifest=Manifest(rows, LABELS))


def test_streams_that_disagree_are_refused_by_name():
    streams = two_streams()
    mel, deep = streams["handcrafted"], streams["deep"]
    fewer = deep.select(deep.manifest[:-2])
    with pytest.raises(ValueError, match="only 'mel' has 2: .'a10', 'a9'"):
        make_dataset({"mel": mel, "deep": fewer}, 4)
    with pytest.raises(ValueError, match="'a3'.*only 'deep' has 1: .'new'"):
        FeatureStreams({"mel": mel, "deep": changed(deep, id="new")})
    order = deep.select(Manifest(list(deep.manifest)[::-1], LABELS))
    with pytest.raises(ValueError, match="row 0 is 'a0' in 'mel' and 'a10'"):
        FeatureStreams({"mel": mel, "deep": order})
    other = changed(deep, label="sadness")
    with pytest.raises(ValueError, match="same labels.*1 utterances.*'a3'"):
        FeatureStreams({"mel": mel, "deep": other})


def test_nan_features_are_refused_by_name():
    streams = two_streams()
    arrays = [array.copy() for array in streams["deep"].arrays]
    arrays[4][0, 0] = np.nan
    arrays[7][-1, 1] = np.inf
    streams["deep"] = dataclasses.replace(streams["deep"], arrays=arrays)
    with pytest.raises(ValueError, match="'deep' has NaN.*2 of 11.*'a4', 'a7'"):
        make_dataset(streams, 4)


@pytest.mark.parametrize(
    "streams, duration, message",
    [
        ({}, None, "at least one stream"),
        ({"deep": np.zeros(3)}, None, "from a name to a `FeatureSet`"),
        (two_streams(), 0, "positive integer"),
        (two_streams(), {"deep": 3}, "positive integer, or have one for each"),
        (two_streams(rates=(MEL, None)), 50, r"no frame rate of \['deep'\]"),
        (
            two_streams(rates=(None, None)),
            {"handcrafted": 50, "deep": 3},
            r"no frame rate of \['handcrafted', 'deep'\]",
        ),
    ],
)
def test_arguments_are_checked(streams, duration, message):
    with pytest.raises(ValueError, match=message):
        make_dataset(streams, 4, duration_frames=duration)


def test_frame_rate_is_the_front_ends(tmp_path):
    import soundfile

    from ser_keras.audio.mfcc import MFCC
    from ser_keras.features.preprocessor import Preprocessor

    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    manifest = Manifest([Utterance("a", str(path), "anger", "s")])
    features = Preprocessor(MFCC(frame_step=320)).compute(manifest)
    assert features.frame_rate == 50
    with pytest.raises(ValueError, match="frame_rate=-1"):
        FeatureSet(manifest, [np.ones((1, 1))], frame_rate=-1)
