import errno
import gc
import itertools
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.audio.augmentation.layers import SpecAugment
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features import mapped_frames
from ser_keras.features.dataset import make_dataset
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import join
from ser_keras.features.gather import fold_seed
from ser_keras.features.gather import pass_seed
from ser_keras.features.mapped_frames import known_finite
from ser_keras.features.store import FeatureStore
from ser_keras.features.streams import FeatureStreams


def clips(count=17, width=3, seed=0, longest=12):
    """Dict from id to frames without zeros."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, count)
    return {
        f"clip{row:04d}": rng.uniform(1, 2, (length, width)).astype("float32")
        for row, length in enumerate(lengths)
    }


def manifest_of(names):
    return Manifest(
        [Utterance(x, f"{x}.wav", "anger", f"s{x[-1]}") for x in names]
    )


def stored(folder, frames, shards=3):
    """What a store of several shards gives, in the manifest's order."""
    names = list(frames)
    store = FeatureStore(folder)
    for first in range(shards):
        store.write({x: frames[x] for x in names[first::shards]})
    found = store.read(names)
    return FeatureSet(manifest_of(names), [found[x] for x in names], (), 100.0)


def in_memory(frames):
    return FeatureSet(manifest_of(frames), list(frames.values()), (), 100.0)


def former_batches(features, batch_size, duration, seed, augment, steps):
    """Batches as they were before features were mapped: one constant of all.

    Of shuffled passes with random crops, without `tf.data`.
    """
    frames = np.concatenate([*features.arrays, features.arrays[0][:1] * 0])
    lengths = features.lengths
    starts = np.cumsum(lengths) - lengths
    found = []
    for number in itertools.count():
        state = pass_seed(seed, number)
        position = tf.random.stateless_uniform(
            [len(features)], fold_seed(state, 1)
        )
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(features)), fold_seed(state, 0)
        ).numpy()
        for step, first in enumerate(range(0, len(order), batch_size)):
            rows = order[first : first + batch_size]
            surplus = np.maximum(lengths[rows] - duration, 0)
            offset = position.numpy()[rows] * (surplus + 1).astype("float32")
            offset = np.minimum(offset.astype(int), surplus)
            inside = np.arange(duration) < lengths[rows][:, None]
            index = (starts[rows] + offset)[:, None] + np.arange(duration)
            x = frames[np.where(inside, index, len(frames) - 1)]
            if augment is not None:
                seeds = fold_seed(fold_seed(pass_seed(seed, number), 2), step)
                x = augment.augment(x, seeds).numpy()
            found.append((x[..., None], features.manifest.label_ids[rows]))
            if len(found) == steps:
                return found


@pytest.mark.parametrize("augment", [None, SpecAugment()])
@pytest.mark.parametrize("where", [stored, "memory", "both"])
def test_batches_are_those_of_one_constant(tmp_path, where, augment):
    frames = clips(width=5)
    plain = in_memory(frames)
    features = plain
    if where == stored:
        features = stored(tmp_path, frames)
    elif where == "both":
        mapped = stored(tmp_path, frames)
        arrays = [
            pair[row % 2]
            for row, pair in enumerate(
                zip(plain.arrays, mapped.arrays, strict=True)
            )
        ]
        features = FeatureSet(plain.manifest, arrays, (), 100.0)
    dataset = make_dataset(
        features, 4, duration_frames=7, shuffle=True, seed=3, augment=augment
    )
    former = former_batches(plain, 4, 7, 3, augment, 12)
    for (x, y), (before, labels) in zip(dataset.take(12), former, strict=True):
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(y, labels)


def test_several_stores_and_streams_give_the_batches_of_memory(tmp_path):
    frames = [clips(seed=seed) for seed in range(3)]
    mapped = [stored(tmp_path / str(i), x) for i, x in enumerate(frames)]
    options = {"shuffle": True, "duration_frames": 7, "drop_remainder": True}
    sets = (join(mapped), join([in_memory(x) for x in frames]))
    first, second = (make_dataset(x, 4, **options) for x in sets)
    assert first.element_spec == second.element_spec
    assert first.element_spec[0].shape.as_list() == [4, 7, 3, 1]
    for (x, _), (other, _) in zip(first.take(25), second.take(25), strict=True):
        np.testing.assert_array_equal(x, other)
    two = [FeatureStreams({"a": x, "b": x}) for x in sets]
    first, second = (make_dataset(x, 4, **options) for x in two)
    for (x, _), (other, _) in zip(first.take(5), second.take(5), strict=True):
        np.testing.assert_array_equal(x["b"], other["b"])


@pytest.mark.parametrize("width", [1, 3, 40, 1024, 1500])
def test_frames_of_any_width_are_read_back(tmp_path, width):
    frames = clips(width=width)
    features = stored(tmp_path, frames)
    for array, expected in zip(features.arrays, frames.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert not array.flags.writeable
    assert len({id(x.base) for x in features.arrays}) == 1
    ((x, _),) = make_dataset(features, len(frames), duration_frames=12)
    for clip, expected in zip(x.numpy()[..., 0], frames.values(), strict=True):
        np.testing.assert_array_equal(clip[: len(expected)], expected)
        assert not clip[len(expected) :].any()


def anonymous():
    """Bytes of this process' memory that no file stands behind."""
    gc.collect()
    text = pathlib.Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"Anonymous:\s+(\d+)", text)[1]) << 10


def test_training_data_is_not_copied(tmp_path):
    """96 MB of frames: a copy of any kind is several times the limit."""
    size = 96 << 20
    array = np.ones((size // 160, 40), np.float32)
    frames = dict(zip("abcd", np.array_split(array, 4), strict=True))
    FeatureStore(tmp_path).write(frames)
    del array, frames
    tf.constant(1)
    before = anonymous()
    found = FeatureStore(tmp_path).read("abcd")
    features = FeatureSet(manifest_of("abcd"), [found[x] for x in "abcd"])
    part = join([features, features.select(features.manifest[1:])])
    dataset = make_dataset(part, 2, duration_frames=50, shuffle=True)
    for _ in dataset.take(20):
        pass
    assert anonymous() - before < size / 4


def test_what_is_mapped_outlives_its_set_and_its_file(tmp_path):
    frames = clips()
    dataset = make_dataset(stored(tmp_path, frames), 4)
    for path in tmp_path.glob("*.npz"):
        path.unlink()
    gc.collect()
    x = np.concatenate([x.numpy()[..., 0] for x, _ in dataset])
    for clip, expected in zip(x, frames.values(), strict=True):
        np.testing.assert_array_equal(clip[: len(expected)], expected)


def test_nan_is_found_when_it_is_read_and_named(tmp_path):
    frames = clips()
    assert all(known_finite(x) for x in stored(tmp_path / "a", frames).arrays)
    frames["clip0004"][0, 1] = np.nan
    features = stored(tmp_path / "b", frames)
    known = [known_finite(x) for x in features.arrays]
    # It is the second shard's, of which nothing is taken for granted.
    assert known == [row % 3 != 1 for row in range(len(frames))]
    with pytest.raises(ValueError, match="1 of 17 utterances: .'clip0004'"):
        make_dataset(features, 4)


def test_shards_of_earlier_versions_are_read(tmp_path):
    frames = clips(3)
    keys = sorted(frames)
    for _ in range(2):  # The second time its checksum is known.
        np.savez(
            tmp_path / f"{'0' * 32}.npz",
            keys=np.array(keys, "S"),
            lengths=np.array([len(frames[k]) for k in keys], "i4"),
            frames=np.concatenate([frames[k] for k in keys]),
        )
        found = FeatureStore(tmp_path).read(keys)
        for key in keys:
            np.testing.assert_array_equal(found[key], frames[key])
            assert mapped_frames.block_of(found[key]) is None


def test_numpy_reads_a_shard(tmp_path):
    frames = clips(3)
    FeatureStore(tmp_path).write(frames)
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as shard:
        assert shard["keys"].tolist() == [k.encode() for k in sorted(frames)]
        np.testing.assert_array_equal(
            shard["frames"], np.concatenate([frames[k] for k in sorted(frames)])
        )


def test_file_that_is_replaced_while_it_is_read_is_not_used(
    tmp_path, monkeypatch
):
    FeatureStore(tmp_path).write(clips(3))
    original = mapped_frames.map_parts

    def replaced(parts, *args):
        for path in tmp_path.glob("*.npz"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content[:-1] + b"x")
        return original(parts, *args)

    monkeypatch.setattr("ser_keras.features.store.map_parts", replaced)
    assert FeatureStore(tmp_path).read(clips(3)) == {}


def test_many_shards_need_few_open_files(tmp_path):
    frames = clips(40)
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(pathlib.Path("/proc/self/fd").iterdir()))
    features = stored(tmp_path, frames, shards=40)
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 20, hard))
    try:
        found = FeatureStore(tmp_path).read(frames)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(found) == len(features) == 40


def test_refused_mapping_says_which_file(tmp_path, monkeypatch):
    FeatureStore(tmp_path).write(clips(3))

    def refuse():
        return lambda *_: mapped_frames.ctypes.c_void_p(-1).value

    monkeypatch.setattr(mapped_frames, "_libc_mmap", refuse)
    mapped_frames.ctypes.set_errno(errno.ENOMEM)
    with pytest.raises(OSError, match=r"\.npz"):
        FeatureStore(tmp_path).read(clips(3))
