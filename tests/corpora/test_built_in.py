import collections
import dataclasses
import pathlib

import numpy as np
import pytest
import soundfile

from ser_keras.audio.io import load_audio
from ser_keras.corpora import built_in
from ser_keras.corpora.built_in import FOLDER
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.built_in import is_built_in
from ser_keras.corpora.built_in import make
from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import LeakError
from ser_keras.protocols.protocol import get_protocol


@pytest.fixture(scope="module")
def manifest():
    return load_corpus("emodb", built_in_corpus())


@pytest.fixture(scope="module")
def smoke():
    return load_corpus("emodb", built_in_corpus(smoke=True))


def test_labels_and_speakers(manifest):
    assert manifest.labels == built_in.LABELS
    assert list(manifest.counts().values()) == [127, 71, 79, 62]
    sexes = collections.Counter({u.speaker: u.sex for u in manifest}.values())
    assert sexes == {"female": 5, "male": 5}
    per_class = collections.Counter((u.speaker, u.label) for u in manifest)
    assert len(per_class) == 40 and min(per_class.values()) == 2


def test_folds_are_those_of_emodb(manifest, smoke):
    for corpus in (manifest, smoke):
        folds = get_protocol("speaker-groups-5").folds(corpus)
        names = [fold.name for fold in folds]
        assert names == ["03+08", "09+10", "11+13", "12+14", "15+16"]
        for fold in folds:
            assert min(fold.train.counts().values()) >= 8


def test_smoke_is_the_shortest_of_each_speaker_and_label(manifest, smoke):
    keys = {(u.speaker, u.label) for u in smoke}
    assert len(smoke) == len(keys) == 40
    assert [u.id for u in smoke] == make.smoke_ids(manifest)
    whole = {u.id: pathlib.Path(u.path) for u in manifest}
    for utterance in smoke:
        path = pathlib.Path(utterance.path)
        assert path.read_bytes() == whole[utterance.id].read_bytes()


def test_audio(manifest):
    infos = [soundfile.info(utterance.path) for utterance in manifest]
    assert {i.samplerate for i in infos} == {16000}
    assert {(i.channels, i.subtype) for i in infos} == {(1, "OPUS")}
    assert sum(i.frames for i in infos) == 15258587
    for utterance, info in list(zip(manifest, infos, strict=True))[::40]:
        samples = load_audio(utterance.path, 16000)
        assert len(samples) == info.frames
        # A part is what the whole has there: a decoder may start late.
        part = load_audio(utterance.path, 16000, start=0.5, end=1.0)
        np.testing.assert_allclose(part, samples[8000:16000], atol=1e-4)


def test_size_and_licence():
    files = [
        path
        for path in FOLDER.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    assert "CC0 1.0 Universal" in (FOLDER / "LICENSE").read_text()
    page = (FOLDER / "README.md").read_text()
    for said in ("Burkhardt", "audeering.github.io", "CC0 1.0", str(127)):
        assert said in page


def test_every_file_is_packaged(repository, monkeypatch):
    pytest.importorskip("setuptools", reason="lists the files of a wheel")
    from setuptools import Distribution

    monkeypatch.chdir(repository)
    distribution = Distribution()
    distribution.parse_config_files(["setup.cfg"])
    command = distribution.get_command_obj("build_py")
    command.ensure_finalized()
    packaged = {
        (pathlib.Path(source) / name).resolve()
        for _, source, _, names in command.data_files
        for name in names
    }
    audio = list(FOLDER.rglob("*.ogg"))
    assert len(audio) == 339 + 40
    names = ("LICENSE", "README.md", "original_hashes.json")
    needed = [*audio, *(FOLDER / name for name in names)]
    assert {path.resolve() for path in needed} <= packaged


def test_without_its_data(tmp_path, monkeypatch):
    monkeypatch.setattr(built_in, "FOLDER", tmp_path / "site.zip/ser_keras")
    with pytest.raises(FileNotFoundError, match=r"site\.zip.*--data-dir"):
        built_in_corpus()


def test_files_are_known_on_any_machine(manifest, smoke):
    assert is_built_in(manifest[0].path) and is_built_in(smoke[0].path)
    assert not is_built_in("/corpora/emodb/wav/03a01Fa.wav")
    assert not is_built_in("built_in/emodb/03a01Fa.ogg")


def test_guard_knows_the_original_recordings(manifest, smoke, corpora_root):
    originals = load_corpus("emodb", corpora_root / "emodb")
    exposed = ExposedAudio().add("search", originals.select(speakers="03"))
    for corpus in (manifest, smoke):
        exposed.check_unseen(corpus.select(speakers="08"))
        with pytest.raises(LeakError, match="search"):
            exposed.check_unseen(corpus.select(speakers="03"))
    coded = ExposedAudio().add("train", smoke)
    with pytest.raises(LeakError, match="40 of 535"):
        coded.check_unseen(originals)
    # A part of a file is not the recording, nor is a file of the same name.
    whole = smoke[0]
    for other in (
        dataclasses.replace(whole, end=0.5),
        dataclasses.replace(whole, path="/corpora/emodb/03a01Fa.ogg"),
    ):
        assert built_in.original_hash(other) is None
    assert built_in.original_hash(whole) in coded.stages["train"]


def test_coded_audio_is_that_of_the_recordings(manifest, corpora_root):
    originals = load_corpus("emodb", corpora_root / "emodb")
    originals = originals.select(labels=built_in.LABELS)
    assert [u.id for u in originals] == [u.id for u in manifest]
    assert [u.label for u in originals] == [u.label for u in manifest]
    ratios = []
    for original, coded in zip(originals, manifest, strict=True):
        x, _ = soundfile.read(original.path)
        y, _ = soundfile.read(coded.path)
        assert len(y) == len(x)
        ratios.append(np.dot(x, x) / np.dot(x - y, x - y))
    decibels = 10 * np.log10(ratios)
    # Measured: 19.4 and 11.0 dB, see docs/results/built_in_corpus.json.
    assert np.median(decibels) > 19 and decibels.min() > 10.5


def test_an_encoding_keeps_length_and_names(tmp_path, smoke):
    make.encode(smoke[:2], tmp_path / "coded")
    coded = load_corpus("emodb", tmp_path / "coded")
    assert [u.id for u in coded] == [u.id for u in smoke[:2]]
    for before, after in zip(smoke, coded, strict=False):
        frames = [soundfile.info(u.path).frames for u in (before, after)]
        assert frames[0] == frames[1]
    with pytest.raises(FileExistsError):
        make.encode(smoke[:1], tmp_path / "coded")
