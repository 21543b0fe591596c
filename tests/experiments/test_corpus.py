"""Which corpus a run works on, and its folds."""

import collections
import dataclasses
import importlib.util
import json
import sys

import pytest

from ser_keras.cli import parse
from ser_keras.cli import save
from ser_keras.corpora.built_in import built_in_corpus
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.corpora.parsers import load_corpus
from ser_keras.experiments.compare import CompareConfig
from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.corpus import on_corpus
from ser_keras.experiments.corpus import read_corpus
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.registry import config_class
from ser_keras.experiments.registry import system_class
from tests.experiments.conftest import FOLDS
from tests.experiments.toy_system import ToyConfig

GROUPS_OF_EMODB = ["03+08", "09+10", "11+13", "12+14", "15+16"]


def corpus(sessions=5, speakers=2):
    """Two utterances of each speaker."""
    return Manifest(
        [
            Utterance(f"S{i}{j}{label}", "x.wav", label, f"S{i}{j:02}", f"S{i}")
            for i in range(sessions)
            for j in range(speakers)
            for label in ("anger", "neutral")
        ]
    )


def names(folds):
    return [fold.name for fold in folds]


def test_usual_folds():
    def usual(corpus, protocol="", **options):
        config = LightSERNetConfig(
            corpus="mine", data_dir="x", protocol=protocol, **options
        )
        return names(make_folds(config, corpus))

    sessions = [f"S{i}" for i in range(5)]
    speakers = list(corpus().speakers)
    for protocol in ("", "speaker-independent", "leave-one-session-out"):
        assert usual(corpus(), protocol) == sessions
    assert usual(corpus(), "leave-one-speaker-out") == speakers
    assert usual(corpus(sessions=1, speakers=12)) == list(
        corpus(1, 12).speakers
    )
    assert len(usual(corpus(sessions=1, speakers=13))) == 6
    assert len(usual(corpus(), "speaker-groups", groups=2)) == 2
    for number in (3, 5):
        folds = usual(corpus(), "published", random_folds=number)
        assert len(folds) == number
    with pytest.raises(ValueError, match="nonsense"):
        usual(corpus(), "nonsense")


def test_partitions_of_a_release_are_its_usual_protocol():
    released = Manifest(
        [
            Utterance(
                f"{part}{i}", "a.wav", label, f"{part}-{i}", partition=part
            )
            for part in ("train", "development", "test1", "test2")
            for i, label in enumerate(("anger", "neutral"))
        ]
    )
    for protocol in ("", "speaker-independent"):
        config = LightSERNetConfig(
            corpus="mine", data_dir="x", protocol=protocol
        )
        (fold,) = make_folds(config, released)
        assert (fold.name, len(fold.train)) == ("test1", 2)
        assert fold.protocol["name"] == "partitions"
    config = dataclasses.replace(config, protocol="leave-one-speaker-out")
    assert len(make_folds(config, released)) == 8


def test_the_built_in_corpus_is_divided_into_pairs(capsys):
    config = LightSERNetConfig(smoke=True)
    found = read_corpus(config)
    assert len(found) == 40 and "40 utterances" in capsys.readouterr().out
    assert found.labels == ("anger", "happiness", "neutral", "sadness")
    assert names(make_folds(config, found)) == GROUPS_OF_EMODB
    config = dataclasses.replace(config, protocol="leave-one-speaker-out")
    assert names(make_folds(config, found)) == list(found.speakers)


def test_groups_of_emodb():
    emodb = load_corpus("emodb", built_in_corpus(smoke=True))
    config = CompareConfig(
        corpus="emodb", data_dir="x", protocol="speaker-groups"
    )
    assert names(make_folds(config, emodb)) == GROUPS_OF_EMODB
    config = CompareConfig(corpus="emodb", data_dir="x")
    assert names(make_folds(config, emodb)) == list(emodb.speakers)


def test_a_fold_by_its_number():
    assert chosen_folds(FOLDS, 0) == FOLDS
    assert chosen_folds(FOLDS, 2) == [FOLDS[1]]
    for number in (-1, 7):
        with pytest.raises(ValueError, match=rf"2 \(b\),.*fold={number}"):
            chosen_folds(FOLDS, number)


def test_a_corpus_has_a_name_and_a_folder():
    for options in ({"corpus": "emodb"}, {"data_dir": "/emodb"}):
        with pytest.raises(ValueError, match="--data-dir must be.* together"):
            read_corpus(LightSERNetConfig(**options))


@pytest.mark.parametrize("system", ["light_sernet", "emodarts", "emotionnas"])
@pytest.mark.parametrize("corpus", ["emodb", "iemocap"])
def test_recipes_and_commands_read_each_others_files(
    repository, tmp_path, monkeypatch, system, corpus
):
    path = repository / "recipes" / f"{corpus}_{system}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    command = config_class(system)
    options = ["--data-dir", "x", "--fold", "2", "--seed", "3"]
    options += ["--protocol", "leave-one-speaker-out"]
    file = tmp_path / "config.json"
    config = on_corpus(parse(module.Config, options), corpus)
    save(config, file)
    theirs = parse(command, ["--config", str(file)])
    assert dataclasses.asdict(theirs) == dataclasses.asdict(config)
    assert theirs.corpus == corpus
    save(parse(command, [*options, "--corpus", corpus]), file)
    ours = on_corpus(parse(module.Config, ["--config", str(file)]), corpus)
    assert json.loads(file.read_text()) == {
        **dataclasses.asdict(ours),
        **{k: list(v) for k, v in vars(ours).items() if isinstance(v, tuple)},
    }
    # Without a folder it is the built-in one; another corpus is refused.
    assert on_corpus(parse(module.Config, []), corpus).corpus == ""
    with pytest.raises(ValueError, match="`ser_keras train` takes any"):
        on_corpus(dataclasses.replace(ours, corpus="tess"), corpus)


def write_list(folder, speakers="abcd", labels=("angry", "happy"), each=3):
    """A list of your own, in which 'a' has most utterances."""
    rows = ["file,mood,who"]
    for speaker in speakers:
        for label in labels:
            for i in range(each + 4 * (speaker == "a")):
                (folder / f"{speaker}{label}{i}.wav").touch()
                rows.append(f"{speaker}{label}{i}.wav,{label},{speaker}")
    (folder / "mine.csv").write_text("\n".join(rows) + "\n")
    return str(folder / "mine.csv")


def of_list(table, **options):
    options = {"columns": ("label=mood", "speaker=who")} | options
    return ToyConfig(corpus="manifest", data_dir=table, **options)


def test_a_list_with_the_options_of_a_command(tmp_path, capsys):
    table = write_list(tmp_path, labels=("angry", "happy", "bored"))
    found = read_corpus(of_list(table))
    assert found.labels == ("angry", "bored", "happy")
    found = read_corpus(of_list(table, label_map=("4",)))
    assert found.counts() == {
        "neutral": 0,
        "happiness": 16,
        "sadness": 0,
        "anger": 16,
    }
    printed = capsys.readouterr().out
    assert "label bored, not in the label map 16" in printed
    assert "label 'happy' is read as 'happiness'" in printed
    pairs = {"label_map": ("bored=calm",), "labels": ("happy", "calm")}
    found = read_corpus(of_list(table, **pairs, speakers=("b", "c")))
    assert found.counts() == {"happy": 6, "calm": 6}
    assert found.speakers == ("b", "c")
    with pytest.raises(ValueError, match="at least two classes.*'happy': 16"):
        read_corpus(of_list(table, labels=("happy",)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ("mood",)}, "`columns` must be NAME=NAME.*'mood'"),
        ({"label_map": ("5",)}, "`label_map` .*or one of 4, 6.*'5'"),
        ({"label_map": ("4", "a=b")}, "`label_map` must be NAME=NAME"),
        ({"limit_per_class": -1}, "limit_per_class=-1"),
        ({"test_corpus": "emodb"}, "must be given together"),
        ({"corpus": "emodb", "columns": ("a=b",)}, "--corpus manifest"),
    ],
)
def test_options_of_a_corpus_are_checked_at_once(options, message):
    given = {"corpus": "manifest", "data_dir": "x"} | options
    with pytest.raises(ValueError, match=message):
        ToyConfig(**given)


@pytest.mark.parametrize("limit", [1, 4, 6, 100])
def test_a_limit_takes_as_many_of_each_speaker(tmp_path, limit):
    table = write_list(tmp_path)
    found = read_corpus(of_list(table, limit_per_class=limit))
    assert set(found.counts().values()) == {min(limit, 16)}
    count = collections.Counter(u.speaker for u in found if u.label == "angry")
    if limit < 9:  # Of the others there are no more than three.
        assert max(count.values()) - min(count[s] for s in "abcd") <= 1
    what = "utterances beyond --limit-per-class"
    left = 32 - 2 * min(limit, 16)
    assert found.reading.left_out.get(what, 0) == left
    assert found == read_corpus(of_list(table, limit_per_class=limit))


def test_a_list_without_speakers(tmp_path):
    """Random folds that say so wherever a protocol is named."""
    table = write_list(tmp_path)
    config = of_list(table, columns=("label=mood",), speakers=("unknown",))
    folds = make_folds(config, read_corpus(config))
    assert names(folds) == [f"random{i}" for i in range(1, 6)]
    assert folds[0].protocol["name"] == "SPEAKER-UNKNOWN"
    assert folds[0].leaks_speakers and not folds[0].selects_on_test
    assert folds[0].train.speakers == ("SPEAKER-UNKNOWN",)
    # A system that checks its protocol takes them, too.
    light = LightSERNetConfig(
        corpus="manifest", data_dir=table, speakers=("unknown",), batch_size=8
    )
    system_class("light_sernet")(light).check_folds(folds)
    with pytest.raises(ValueError, match="'speaker'.*--speakers unknown"):
        read_corpus(of_list(table, columns=("label=mood",)))


def test_training_on_one_corpus_and_testing_on_another(tmp_path):
    (tmp_path / "a").mkdir()
    table = write_list(tmp_path / "a", labels=("angry", "happy", "awe"))
    built_in = str(built_in_corpus(smoke=True))
    config = of_list(table, test_corpus="emodb", test_data_dir=built_in)
    corpus = read_corpus(config)
    assert corpus.labels == ("angry", "happy")
    (fold,) = make_folds(config, corpus)
    assert fold.protocol["name"] == "cross-corpus"
    assert fold.train.counts() == {"angry": 16, "happy": 16}
    assert fold.test.counts() == {"angry": 10, "happy": 10}
    assert {u.corpus for u in fold.test} == {"test"}
    left = corpus.reading.left_out
    assert left["label awe, not used of both corpora"] == 16
    assert left["label neutral, not used of both corpora"] == 10
    for labels in (("angry", "awe"), ("angry",)):
        with pytest.raises(ValueError, match="two classes in common.*'awe'"):
            read_corpus(dataclasses.replace(config, labels=labels))
