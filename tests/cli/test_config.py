import dataclasses
import json
from typing import Literal

import pytest

from ser_keras.cli import parse
from ser_keras.cli import run
from ser_keras.cli import save
from ser_keras.training.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Config:
    """Searches a network.

    On a corpus.
    """

    data_dir: str | None = None
    """Folder of the corpus."""
    labels: tuple[str, ...] = ("anger", "sadness")
    """Emotions, in order."""
    folds: tuple[int, ...] = ()
    """Folds to score."""
    order: Literal[1, 2] = 1
    """Order of the gradient."""
    rate: float = 0.1
    """Learning rate."""
    skip_bad_audio: bool = False
    """Leave out what cannot be read."""

    def __post_init__(self):
        if self.rate <= 0:
            raise ValueError(f"`rate` must be > 0. Received: rate={self.rate}")


@dataclasses.dataclass
class Required:
    name: str


@pytest.mark.parametrize(
    "argv, expected",
    [
        ([], Config()),
        (["--data-dir", "a b"], Config(data_dir="a b")),
        (["--data_dir=a_b-c"], Config(data_dir="a_b-c")),
        (["--skip-bad-audio"], Config(skip_bad_audio=True)),
        (["--skip_bad_audio", "--no-skip-bad-audio"], Config()),
        (["--labels", "fear", "calm"], Config(labels=("fear", "calm"))),
        (["--folds", "3", "1"], Config(folds=(3, 1))),
        (["--labels"], Config(labels=())),
        (["--order", "2"], Config(order=2)),
    ],
)
def test_flags(argv, expected):
    config = parse(Config, argv)
    assert config == expected
    assert isinstance(config.labels, tuple)


def test_argv_is_the_default(monkeypatch):
    monkeypatch.setattr("sys.argv", ["recipe.py", "--order=2"])
    assert parse(Config).order == 2


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--order", "3"], "order"),
        (["--rate", "fast"], "rate"),
        (["--rate", "-1"], "`rate` must be > 0. Received: rate=-1.0"),
        (["--folds", "x"], "folds"),
        (["--nope"], "--nope"),
        (["stray"], "stray"),
        (["--config", "/nowhere/x.json"], "/nowhere/x.json"),
    ],
)
def test_usage_errors_name_the_flag(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Config, argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_required_field(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Required, [])
    assert stop.value.code == 2
    assert "name" in capsys.readouterr().err


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(Config, ["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Searches a network. On a corpus." in text
    for sentence in (
        "--data-dir DATA_DIR Folder of the corpus.",
        "Emotions, in order.",
        "Leave out what cannot be read.",
        "--no-skip-bad-audio",
        "{1,2}",
    ):
        assert sentence in text


def test_saved_configuration_is_read_back(tmp_path):
    config = Config(
        data_dir="x", labels=("fear",), order=2, skip_bad_audio=True
    )
    save(config, tmp_path / "config.json")
    argv = ["--config", str(tmp_path / "config.json")]
    assert parse(Config, argv) == config
    changed = parse(Config, [*argv, "--no-skip-bad-audio", "--labels", "calm"])
    assert changed == dataclasses.replace(
        config, labels=("calm",), skip_bad_audio=False
    )


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_configuration_of_a_run_is_read(tmp_path, form):
    config = Config(data_dir="my_corpus", labels=("fear",))
    file = RunFolder(tmp_path / "a_run", config.__dict__).path / "config.json"
    argv = [*form.format(file).split(), "--order=2"]
    assert parse(Config, argv) == dataclasses.replace(config, order=2)


@dataclasses.dataclass(frozen=True)
class Placed:
    """Has fields that are given by their place."""

    files: tuple[str, ...] = dataclasses.field(metadata={"positional": True})
    """Files."""
    corpus: str = ""
    """Corpus."""


def test_fields_given_by_their_place():
    argv = ["a_b.wav", "c.wav", "--corpus", "emodb"]
    assert parse(Placed, argv) == Placed(("a_b.wav", "c.wav"), "emodb")
    with pytest.raises(SystemExit):
        parse(Placed, ["--corpus", "emodb"])


def test_unknown_key_in_a_file_is_an_error(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"lables": ["fear"]}))
    with pytest.raises(SystemExit):
        parse(Config, ["--config", str(tmp_path / "config.json")])
    assert "lables" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--print_config", "--print-config"])
def test_printed_configuration_is_read_back(tmp_path, capsys, flag):
    with pytest.raises(SystemExit) as stop:
        parse(Config, ["--data-dir", "x", "--folds", "2", "5", flag])
    assert stop.value.code == 0
    path = tmp_path / "config.yaml"
    path.write_text(capsys.readouterr().out)
    config = parse(Config, ["--config", str(path)])
    assert config == Config(data_dir="x", folds=(2, 5))


@pytest.mark.parametrize("kind", [ModuleNotFoundError, RuntimeError])
def test_what_a_user_can_mend_is_one_line(kind, capsys):
    def main(config):
        raise kind("pip install 'ser_keras[litert]'")

    with pytest.raises(SystemExit) as stop:
        run(main, Config, [])
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "ser_keras[litert]" in error and error.count("\n") == 1
