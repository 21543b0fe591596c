"""What was decoded once; every answer is compared with decoding again."""

import hashlib
import json
import logging
import os
import pathlib
import sqlite3
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import soundfile

from ser_keras.corpora import audio_content as contents_module
from ser_keras.corpora import audio_content_cache as cache_module
from ser_keras.corpora.audio_content import audio_content
from ser_keras.corpora.audio_content import audio_contents
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.audit import audit_corpus
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import leave_one_speaker_out

RATE = 16000
SECOND = 10**9  # In ns.


def noise(seed, seconds=0.1):
    random = np.random.default_rng(seed)
    return random.integers(-9000, 9000, round(seconds * RATE), np.int16)


def write(path, samples):
    soundfile.write(path, samples, RATE)
    return Utterance(path.name, str(path), "anger", path.stem)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The file of an empty cache, long after whatever a test writes."""
    monkeypatch.setenv("SER_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "_said", set())
    set_clock(monkeypatch, lambda: time.time_ns() + 3600 * SECOND)
    return cache_module.cache_file()


def set_clock(monkeypatch, clock):
    now = types.SimpleNamespace(time_ns=clock)
    monkeypatch.setattr(cache_module, "time", now)


@pytest.fixture
def decoded(monkeypatch):
    """Ids of the utterances that were decoded, in order."""
    names = []

    def note(utterance):
        names.append(utterance.id)
        return audio_content(utterance)

    monkeypatch.setattr(contents_module, "audio_content", note)
    return names


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    return Manifest(
        [write(folder / f"{i}.wav", noise(i)) for i in range(6)]
        + [write(folder / "silent.flac", noise(0) * 0)]
    )


def check(manifest):
    """All as if there was no cache; returns it."""
    found = audio_contents(manifest, jobs=2)
    assert found == {u.id: audio_content(u) for u in manifest}
    assert list(found) == [u.id for u in manifest]
    return found


def test_each_file_is_decoded_once(corpus, cache, decoded):
    first = check(corpus)
    assert sorted(decoded) == sorted(u.id for u in corpus)
    assert first["silent.flac"].silent
    decoded.clear()
    check(corpus)
    more = write(pathlib.Path(corpus[0].path).with_name("new.wav"), noise(9))
    check(Manifest([*corpus, more]))
    assert decoded == ["new.wav"]
    # For its owner alone: it has the names of files.
    assert cache.parent.stat().st_mode & 0o077 == 0


def test_real_speech_and_another_version(
    corpora_root, cache, decoded, monkeypatch
):
    manifest = load_corpus("emodb", corpora_root / "emodb")[::20]
    check(manifest)
    decoded.clear()
    check(manifest)
    assert not decoded
    monkeypatch.setattr(contents_module, "_VERSION", "another")
    check(manifest)
    assert len(decoded) == len(manifest)


def test_what_version_1_finds(tmp_path):
    """If this fails, `_VERSION` must be raised, and then the numbers here."""
    samples = (np.arange(1600) * 37 % 16001 - 8000).astype(np.int16)
    samples[10:14] = 32767
    found = audio_content(write(tmp_path / "a.wav", np.stack([samples] * 2, 1)))
    assert contents_module._VERSION == 1
    assert found.hash == "c67c1e82285fef54272776aa1a8e0182"
    assert (found.clipped, found.duration) == (4, 0.1)
    assert found.peak == 32767 / 32768


def test_other_content_of_the_same_size_and_time(corpus, cache, decoded):
    before = check(corpus)
    path = pathlib.Path(corpus[2].path)
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # The inode stays, and so does all but a bit.
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_mtime_ns == times.st_mtime_ns
    assert path.stat().st_size == times.st_size
    decoded.clear()
    after = check(corpus)
    assert decoded == ["2.wav"]
    assert after["2.wav"].hash != before["2.wav"].hash


def test_a_file_in_the_place_of_another(corpus, cache, decoded, tmp_path):
    check(corpus)
    path = pathlib.Path(corpus[2].path)
    times = path.stat()
    write(tmp_path / "other.wav", noise(77))
    os.utime(tmp_path / "other.wav", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.replace(tmp_path / "other.wav", path)
    decoded.clear()
    check(corpus)
    assert decoded == ["2.wav"]


def test_exchanged_files_show_a_leak(corpus, cache, decoded):
    """Both are known, and neither is where it was."""
    first, second = (pathlib.Path(corpus[i].path) for i in (0, 1))
    before = check(corpus)
    spare = first.with_suffix(".spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    decoded.clear()
    after = check(corpus)
    assert not decoded  # Bytes were enough.
    assert after["0.wav"].hash == before["1.wav"].hash
    folds = leave_one_speaker_out(corpus)
    guard_folds(folds, corpus, ExposedAudio())
    second.write_bytes(first.read_bytes())
    with pytest.raises(LeakError, match=r"0\.wav \(in train\)"):
        guard_folds(folds, corpus, ExposedAudio())


def test_a_moved_corpus_is_not_decoded_again(corpus, cache, decoded, tmp_path):
    check(corpus)
    (tmp_path / "corpus").rename(tmp_path / "moved")
    moved = Manifest(
        [
            Utterance(u.id, str(tmp_path / "moved" / u.id), u.label, u.speaker)
            for u in corpus
        ]
    )
    decoded.clear()
    check(moved)
    assert not decoded
    # Where the corpus was, there is nothing, whatever is known of it.
    gone = audio_contents(corpus)
    assert {x.problem for x in gone.values()} == {"no such file"}


def test_a_truncated_and_a_mended_file(corpus, cache, decoded):
    check(corpus)
    path = pathlib.Path(corpus[3].path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # A problem is found each time anew.
        decoded.clear()
        assert "truncated" in check(corpus)["3.wav"].problem
        assert decoded == ["3.wav"]
    path.write_bytes(whole)
    assert check(corpus)["3.wav"].problem is None


def test_stretches_of_a_file(tmp_path, cache, decoded):
    long = write(tmp_path / "long.wav", noise(0, 1.0))
    parts = [
        Utterance(str(i), long.path, "anger", "a", start=start, end=end)
        for i, (start, end) in enumerate(
            [(0.0, 0.5), (0.5, 1.0), (0.5, None), (None, 0.5), (2.0, 3.0)]
        )
    ]
    found = check(Manifest([long, *parts]))
    assert len({x.hash for x in found.values()}) == 4
    decoded.clear()
    check(Manifest(parts[::-1]))
    assert decoded == ["4"]  # Which is beyond the end: a problem.


def test_equal_bytes_of_another_format(tmp_path, cache):
    """Without a header, the name says how the bytes are coded."""
    content = np.random.default_rng(0).bytes(4000)
    rows = []
    for name in ("a.vox", "a.gsm", "a.txt"):
        (tmp_path / name).write_bytes(content)
        rows.append(Utterance(name, str(tmp_path / name), "anger", "a"))
    for row in (*rows, *rows):
        check(Manifest([row]))
    assert audio_content(rows[0]).hash != audio_content(rows[1]).hash


def test_a_file_just_written_is_not_trusted(
    corpus, cache, decoded, monkeypatch
):
    last = max(os.stat(u.path).st_ctime_ns for u in corpus)
    everything = sorted(u.id for u in corpus)
    set_clock(monkeypatch, lambda: last + 2 * SECOND)
    for _ in range(2):
        decoded.clear()
        check(corpus)
        assert sorted(decoded) == everything
    # Of what was just copied, the bytes are read: they may be known.
    set_clock(monkeypatch, lambda: last + 9 * SECOND)
    check(corpus)
    set_clock(monkeypatch, lambda: last + 2 * SECOND)
    path = pathlib.Path(corpus[0].path)
    path.write_bytes(path.read_bytes())
    decoded.clear()
    check(corpus)
    assert not decoded


def test_a_file_written_while_it_is_decoded(corpus, cache, monkeypatch):
    """Its bytes were hashed before, and what is decoded are others."""
    path = pathlib.Path(corpus[0].path)
    first, other = path.read_bytes(), pathlib.Path(corpus[1].path).read_bytes()

    def decode(utterance):
        if utterance.id == "0.wav":
            path.write_bytes(other)
        return audio_content(utterance)

    monkeypatch.setattr(contents_module, "audio_content", decode)
    audio_contents(corpus)
    path.write_bytes(first)
    monkeypatch.undo()
    monkeypatch.setenv("SER_KERAS_CACHE", str(cache.parent))
    check(corpus)


PROGRAM = """
import json, sys
from ser_keras.corpora import audio_content
from ser_keras.corpora.manifest import Manifest, Utterance

audio_content._CHUNK = 3
paths = json.loads(sys.stdin.readline())
manifest = Manifest([Utterance(p, p, "anger", "a") for p in paths])
print("ready", flush=True)
sys.stdin.readline()
found = audio_content.audio_contents(manifest)
print(json.dumps([x.hash for x in found.values()]))
"""


def test_two_processes_at_once(corpora_root, cache, decoded, repository):
    """One cache, made and filled by both in small steps."""
    manifest = load_corpus("emodb", corpora_root / "emodb")[::4]
    paths = [u.path for u in manifest]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(repository)},
        )
        for _ in range(2)
    ]
    for process, part in zip(processes, (paths, paths[::-1]), strict=True):
        process.stdin.write(json.dumps(part) + "\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        answer, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and "cache of audio" not in errors
        answers.append(json.loads(answer))
    found = check(manifest)
    assert not decoded
    expected = [found[u.id].hash for u in manifest]
    assert answers == [expected, expected[::-1]]


def damage_header(file):
    file.write_bytes(b"no database, but of some length" * 100)


def damage_end(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def damage_pages(file):
    content = bytearray(file.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    file.write_bytes(content)


def other_tables(file):
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE files (x)")
    connection.close()


def is_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    "damage", [damage_header, damage_end, damage_pages, other_tables, is_folder]
)
def test_a_damaged_cache_is_said_once(corpus, cache, decoded, caplog, damage):
    check(corpus)
    damage(cache)
    for _ in range(2):
        decoded.clear()
        check(corpus)
        assert sorted(decoded) == sorted(u.id for u in corpus)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(cache) in record.message
    assert "SER_KERAS_CACHE" in record.message


def test_values_that_were_altered_are_not_used(corpus, cache, decoded, caplog):
    """As a bad disk would, in a database that SQLite finds sound."""
    before = check(corpus)
    wanted, other = before["0.wav"].hash, before["1.wav"].hash
    with sqlite3.connect(cache) as connection:
        done = connection.execute(
            "UPDATE contents SET found = replace(found, ?, ?)", (wanted, other)
        )
        assert done.rowcount == 7
        # Not with LIKE: whether it matches a blob depends on how SQLite was
        # built, and TensorFlow, if imported first, brings its own.
        paths = [os.fsencode(corpus[i].path) for i in (2, 3)]
        (hashed,) = connection.execute(
            "SELECT bytes FROM files WHERE path = ?", paths[:1]
        ).fetchone()
        done = connection.execute(
            "UPDATE files SET bytes = ? WHERE path = ?", (hashed, paths[1])
        )
        assert done.rowcount == 1
    connection.close()
    decoded.clear()
    check(corpus)
    assert decoded == ["0.wav"]  # The bytes of the other one were enough.
    assert not caplog.records


def test_a_folder_that_cannot_be_written(
    corpus, tmp_path, cache, decoded, caplog, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SER_KERAS_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        check(corpus)
    assert len(decoded) == 2 * len(corpus)
    (record,) = caplog.records
    assert "all audio is decoded" in record.message


def test_a_cache_that_may_only_be_read(
    corpus, cache, decoded, caplog, monkeypatch
):
    """Root may write anywhere, so SQLite is told what it would find."""
    check(corpus[:4])
    connect = sqlite3.connect

    def read_only(file, **options):
        return connect(f"file:{file}?mode=ro", uri=True, **options)

    monkeypatch.setattr(cache_module.sqlite3, "connect", read_only)
    for _ in range(2):
        decoded.clear()
        check(corpus)
        assert sorted(decoded) == sorted(u.id for u in corpus[4:])
    (record,) = caplog.records
    assert "is not written to" in record.message


def test_a_cache_that_another_process_holds(
    corpus, cache, decoded, caplog, monkeypatch
):
    check(corpus[:4])
    monkeypatch.setattr(cache_module, "_WAIT", 0.01)
    holder = sqlite3.connect(cache)
    holder.execute("BEGIN EXCLUSIVE")
    decoded.clear()
    check(corpus)
    assert len(decoded) == len(corpus)
    holder.close()
    assert "locked" in caplog.text
    decoded.clear()
    check(corpus)
    assert len(decoded) == len(corpus) - 4


def test_without_sqlite(corpus, cache, decoded, caplog, monkeypatch):
    monkeypatch.setattr(cache_module, "sqlite3", None)
    check(corpus)
    check(corpus)
    assert len(decoded) == 2 * len(corpus)
    (record,) = caplog.records
    assert "no sqlite3" in record.message


@pytest.mark.parametrize("word", ["off", "0"])
def test_switched_off(corpus, tmp_path, decoded, monkeypatch, word, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("SER_KERAS_CACHE", word)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    check(corpus)
    check(corpus)
    assert len(decoded) == 2 * len(corpus)
    assert sorted(tmp_path.rglob("*")) == before and not caplog.records


def test_where_it_is(tmp_path, monkeypatch):
    name = "ser_keras/audio_contents_1.sqlite3"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SER_KERAS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_module.cache_file() == tmp_path / ".cache" / name
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # Must be ignored.
    assert cache_module.cache_file() == tmp_path / ".cache" / name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_module.cache_file() == tmp_path / "xdg" / name
    monkeypatch.setenv("SER_KERAS_CACHE", "~/mine")
    assert cache_module.cache_file().parent == tmp_path / "mine"


def test_an_audit_finds_the_same(corpus, cache, decoded, monkeypatch):
    path = pathlib.Path(corpus[0].path)
    path.write_bytes(pathlib.Path(corpus[1].path).read_bytes())
    path.with_name("2.wav").write_bytes(b"RIFF")
    loud = np.full(1600, 32767, np.int16)
    write(path.with_name("3.wav"), loud)
    first, second = audit_corpus(corpus), audit_corpus(corpus)
    # Bad files are looked at again, and equal bytes are known at once.
    assert sorted(decoded)[-1] == "silent.flac" and decoded[-1] == "2.wav"
    monkeypatch.setenv("SER_KERAS_CACHE", "off")
    assert first == second == audit_corpus(corpus)
    assert first.duplicates == (("0.wav", "1.wav"),)
    assert first.clipped == {"3.wav": 1600} and first.silent == ("silent.flac",)
    assert list(first.unusable) == ["2.wav"]


@pytest.mark.parametrize("cache", ["used", "off"])
def test_hashes_of_files_are_those_of_their_bytes(tmp_path, monkeypatch, cache):
    folder = tmp_path / "cache"
    monkeypatch.setenv(
        "SER_KERAS_CACHE", str(folder) if cache == "used" else "off"
    )
    paths = []
    for number in range(5):
        path = tmp_path / f"{number}.wav"
        path.write_bytes(bytes([number]) * 100)
        os.utime(path, ns=(0, 0))
        paths.append(str(path))
    monkeypatch.setattr(cache_module, "_SETTLED_NS", -(10**18))
    absent = str(tmp_path / "absent.wav")
    expected = {
        path: hashlib.blake2b(
            pathlib.Path(path).read_bytes(), digest_size=16
        ).hexdigest()
        for path in paths
    }
    for _ in range(2):
        found = cache_module.file_hashes([*paths, absent, paths[0]])
        assert found == expected
    assert folder.exists() == (cache == "used")
    pathlib.Path(paths[1]).write_bytes(b"other")
    found = cache_module.file_hashes(paths)
    assert {x for x in paths if found[x] != expected[x]} == {paths[1]}
