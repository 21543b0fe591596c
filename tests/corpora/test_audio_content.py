import numpy as np
import pytest
import soundfile

from ser_keras.corpora.audio_content import audio_content
from ser_keras.corpora.audio_content import audio_contents
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance

RATE = 16000


def noise(seed, seconds=1.0, scale=0.1):
    random = np.random.default_rng(seed)
    return random.normal(0, scale, round(seconds * RATE)).clip(-0.9, 0.9)


def write(folder, name, samples, rate=RATE, **options):
    path = folder / name
    soundfile.write(path, samples, rate, **options)
    return Utterance(name, str(path), "anger", "03")


def test_same_audio_under_other_names_and_formats(tmp_path):
    # libsndfile rounds floats to 16 bits in WAV otherwise than in FLAC.
    clip = np.round(noise(0) * 32767).astype(np.int16)
    same = [
        write(tmp_path, "a.wav", clip),
        write(tmp_path, "b.flac", clip),
        write(tmp_path, "c.aiff", clip, subtype="PCM_16"),
        write(tmp_path, "d.wav", np.stack([clip, clip], 1)),
    ]
    other = [
        write(tmp_path, "e.wav", noise(1)),
        write(tmp_path, "f.wav", clip, rate=8000),
        write(tmp_path, "g.wav", clip[:-1]),
        write(tmp_path, "h.wav", np.stack([clip, -clip], 1)),
    ]
    hashes = [audio_content(u).hash for u in same]
    assert len(set(hashes)) == 1
    assert len({audio_content(u).hash for u in other} | set(hashes)) == 5


def test_segments_of_a_file(tmp_path):
    long = write(tmp_path, "long.wav", np.concatenate([noise(0), noise(1)]))
    second = Utterance("x", long.path, "anger", "03", start=1.0, end=2.0)
    rest = Utterance("y", long.path, "anger", "03", start=1.0)
    alone = write(tmp_path, "alone.wav", noise(1))
    contents = audio_contents(Manifest([second, rest, alone]), jobs=2)
    assert list(contents) == ["x", "y", "alone.wav"]
    assert len({content.hash for content in contents.values()}) == 1
    assert contents["x"].duration == 1.0
    beyond = Utterance("z", long.path, "anger", "03", start=3.0)
    assert audio_content(beyond).problem


def test_clipping_counts_runs_at_full_scale(tmp_path):
    samples = noise(0)
    samples[100:105] = 1.0
    samples[200:203] = -1.0
    samples[300:302] = 1.0  # Two in a row happen by chance.
    content = audio_content(write(tmp_path, "a.wav", samples))
    assert content.clipped == 8
    assert content.peak == pytest.approx(1, abs=1e-4)
    loud = audio_content(write(tmp_path, "b.wav", samples * 0.99))
    assert loud.clipped == 0


def test_bad_files_are_problems_and_not_errors(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no audio")
    broken = write(tmp_path, "nan.wav", np.full(100, np.nan), subtype="FLOAT")
    cut = write(tmp_path, "cut.wav", noise(0))
    content = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[:9000])
    found = {
        name: audio_content(Utterance(name, str(tmp_path / name), "a", "b"))
        for name in ("empty.wav", "text.wav", "nan.wav", "cut.wav", "none.wav")
    }
    for name, word in (
        ("empty.wav", "empty file"),
        ("text.wav", "not audio"),
        ("nan.wav", "NaN"),
        ("cut.wav", "truncated"),
        ("none.wav", "no such file"),
    ):
        assert word in found[name].problem and found[name].hash is None
    assert broken.id in found and cut.id in found
