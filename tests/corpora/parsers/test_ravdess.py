from ser_keras.corpora.parsers import load_corpus
from ser_keras.protocols.splits import speaker_groups
from tests.corpora.parsers.conftest import touch


def test_groups_of_ravdess_are_consecutive_actors(corpora_root):
    manifest = load_corpus("ravdess", corpora_root / "ravdess")
    names = [fold.name for fold in speaker_groups(manifest, 6)]
    assert names[0] == "01+02+03+04"
    assert names[-1] == "21+22+23+24"


def test_ravdess_in_actor_folders(tmp_path):
    names = [
        "03-01-06-01-02-01-12.wav",
        "03-02-06-01-02-01-12.wav",  # A song.
        "01-01-06-01-02-01-12.mp4",  # A video.
        "02-01-06-01-02-01-12.wav",  # Not audio only.
    ]
    for name in names:
        touch(tmp_path / "Actor_12" / name)
    manifest = load_corpus("ravdess", tmp_path)
    assert [u.id for u in manifest] == ["03-01-06-01-02-01-12"]
    assert manifest[0].label == "fear"
    assert manifest[0].speaker == "12"
    assert manifest[0].sex == "female"
    assert manifest[0].text == "Dogs are sitting by the door"
