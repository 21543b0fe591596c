import json
import shutil

import numpy as np
import pytest
import soundfile

from ser_keras.data.manifest import Manifest
from ser_keras.data.manifest import Utterance
from ser_keras.evaluation.leak_guard import FILE
from ser_keras.evaluation.leak_guard import LeakError
from ser_keras.evaluation.leak_guard import SeenAudio


@pytest.fixture
def corpus(tmp_path):
    random = np.random.default_rng(0)
    rows = []
    for name in ("a1", "a2", "b1", "b2"):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, random.normal(0, 0.1, 4000), 16000)
        rows.append(Utterance(name, str(path), "anger", name[0]))
    return Manifest(rows)


def test_a_copy_under_another_name_and_format_is_found(corpus, tmp_path):
    seen = SeenAudio().add("search", corpus.select(speakers="a"))
    seen = seen.add("train", corpus.select(speakers="a")[:1], jobs=2)
    seen.check_unseen(corpus.select(speakers="b"))
    samples, rate = soundfile.read(tmp_path / "a1.wav")
    soundfile.write(tmp_path / "new.flac", samples, rate)
    other = Utterance("c9", str(tmp_path / "new.flac"), "anger", "c")
    test = Manifest([*corpus.select(speakers="b"), other])
    with pytest.raises(LeakError, match=r"1 of 3 .*c9 \(in search, train\)"):
        seen.check_unseen(test)


def test_the_same_name_with_other_audio_is_no_leak(corpus, tmp_path):
    seen = SeenAudio().add("train", corpus[:1])
    shutil.copy(tmp_path / "b2.wav", tmp_path / "a1.wav")
    seen.check_unseen(corpus[:1])


def test_record_travels_beside_a_genotype(corpus, tmp_path):
    search = SeenAudio().add("search", corpus[:2])
    search.save(tmp_path / "run")
    loaded = SeenAudio.load(tmp_path / "run")
    assert loaded == search
    run = SeenAudio().add("train", corpus[2:3]).merge(loaded)
    assert run.describe() == "train: 1 recordings, search: 2 recordings"
    run.check_unseen(corpus[3:])
    for index, stage in ((0, "search"), (2, "train")):
        with pytest.raises(LeakError, match=rf"\(in {stage}\)"):
            run.check_unseen(corpus[index : index + 1])
    assert len(run.merge(search).stages["search"]) == 2
    # Hashes only: the file tells nobody whose voices they were.
    text = (tmp_path / "run" / FILE).read_text()
    assert "a1" not in json.loads(text)["stages"]["search"]


def test_bad_records_and_audio(corpus, tmp_path):
    with pytest.raises(ValueError, match="nobody knows what was seen"):
        SeenAudio.load(tmp_path)
    for text in ("{", "[]", '{"version": 9, "stages": {}}', '{"version": 1}'):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ValueError, match="not a record of seen audio"):
            SeenAudio.load(tmp_path)
    (tmp_path / "b1.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 4 .*first b1: an empty file"):
        SeenAudio().add("train", corpus)
    with pytest.raises(ValueError, match="1 of 4 .*first b1"):
        SeenAudio().check_unseen(corpus)
