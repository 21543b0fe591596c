"""`ser_keras corpora`: which corpora there are, and whether one is sound."""

import dataclasses
import pathlib
import warnings

from ser_keras.cli.command import Command
from ser_keras.corpora.manifest import UNKNOWN_SPEAKER
from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import CorpusWarning
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus
from ser_keras.corpora.parsers._reading import AUDIO_SUFFIXES
from ser_keras.corpora.parsers._reading import find_files
from ser_keras.corpora.reading import Reading
from ser_keras.experiments.corpus import check_label_map
from ser_keras.experiments.corpus import pairs_of
from ser_keras.experiments.corpus import with_label_map


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """Corpora that can be read and protocols that divide them."""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Reads a corpus, and looks for what is wrong with it.

    Exit status 1 means that something of the release or of a list is missing,
    or that there is something a training should not see: a file that cannot be
    used, silence, one recording under two names (as published, RAVDESS has
    one), or a single class. Clipped and short files, and what the folder has
    that is no part of the corpus, are only listed.
    """

    data_dir: str = dataclasses.field(metadata={"positional": True})
    """Folder of the corpus, in the layout of its original release."""
    corpus: str = ""
    """Name of the corpus; `ser_keras corpora list` has all. By default the
    one whose layout the folder has; a corpus of its own goes before
    audformat, which many corpora can come in."""
    columns: tuple[str, ...] = ()
    """Of a list: FIELD=COLUMN for columns of other names, such as
    path=recording label=mood."""
    label_map: tuple[str, ...] = ()
    """OLD=NEW for each label to rename, such as joy=happiness; or the name of
    a label map: 4, 6, 7, 8 or 8-contempt, which leaves out what it does not
    name."""
    labels: tuple[str, ...] = ()
    """Labels to use, in this order, after `--label-map`."""
    speakers: tuple[str, ...] = ()
    """Speakers to use; `unknown`, of a list that does not say who speaks."""

    def __post_init__(self):
        pairs_of("columns", self.columns)
        check_label_map(self.label_map)


@dataclasses.dataclass(frozen=True)
class DownloadConfig:
    """Fetches a free corpus, once, from where its owners publish it.

    It goes on where it was interrupted, and compares the checksum. Of corpora
    that no program can fetch it says where they are, and on which terms.
    """

    corpus: str = dataclasses.field(metadata={"positional": True})
    """Name of the corpus: cafe, emodb or ravdess."""
    data_dir: str = dataclasses.field(metadata={"positional": True})
    """Folder for it."""
    accept_licence: bool = False
    """Accept its licence without being asked, as a script must."""


def list_corpora(config):
    """Names of corpora and of protocols."""
    from ser_keras.experiments.corpus import OF_OPTIONS
    from ser_keras.protocols.protocol import PROTOCOLS

    return {
        "corpora": list(corpus_names()),
        "protocols": {p.name: p.to_dict() for p in PROTOCOLS.values()},
        "of_options": OF_OPTIONS,
    }


def show_list(result):
    """Prints what `list_corpora` returned."""
    from ser_keras.protocols.protocol import PROTOCOLS

    print("corpora:")
    for name in result["corpora"]:
        print(f"  {name}")
    print("protocols:")
    for protocol in PROTOCOLS.values():
        print(f"  {protocol.describe()}")
    for name, text in result["of_options"].items():
        print(f"  {name}: {text}")


def check(config):
    """Reads a corpus and audits it."""
    from ser_keras.protocols.audit import audit_corpus

    name, manifest = _read(config)
    manifest = with_label_map(manifest, config.label_map)
    if config.labels:
        manifest = manifest.select(labels=config.labels)
    if config.speakers and manifest.speakers != (UNKNOWN_SPEAKER,):
        manifest = manifest.select(speakers=config.speakers)
    audit = audit_corpus(manifest)
    reading = manifest.reading or Reading()
    problems = [
        problem
        for problem, found in (
            ("incomplete", reading.missing),
            ("a single class", sum(map(bool, audit.classes.values())) < 2),
            ("unusable files", audit.unusable),
            ("silent files", audit.silent),
            ("identical files", audit.duplicates),
        )
        if found
    ]
    return {
        "corpus": name,
        "utterances": len(manifest),
        "speakers": len(manifest.speakers),
        "labels": manifest.counts(),
        **reading.to_dict(),
        "audit": audit.to_dict(),
        "text": manifest.describe() + "\n\n" + audit.describe(),
        "problems": problems,
        "failed": bool(problems),
    }


def _read(config):
    with warnings.catch_warnings():
        # What is missing, the text says.
        warnings.simplefilter("ignore", CorpusWarning)
        return _read_corpus(config)


def _read_corpus(config):
    path = pathlib.Path(config.data_dir).expanduser()
    if not path.exists():
        raise CorpusError(f"{path} does not exist.")
    name = config.corpus or ("manifest" if path.is_file() else "")
    if name == "manifest":
        unknown = config.speakers == ("unknown",)
        return name, load_corpus(
            name,
            path,
            columns=pairs_of("columns", config.columns),
            speakers="unknown" if unknown else None,
        )
    if name:
        return name, load_corpus(name, path)
    found, errors = {}, {}
    for name in corpus_names():
        if name == "manifest":
            continue
        try:
            found[name] = load_corpus(name, path)
        except (ImportError, ValueError, OSError) as error:
            errors[name] = error
    if len(found) > 1:
        found.pop("audformat", None)
    if not found:
        raise CorpusError(_unknown(path, errors))
    if len(found) > 1:
        raise CorpusError(
            f"{config.data_dir} can be read as {', '.join(found)}. Say with "
            "--corpus which one it is."
        )
    return found.popitem()


def _unknown(path, errors):
    """The message for a folder that is no corpus: what it may be, or has."""
    likely = {
        name: error
        for name, error in errors.items()
        if getattr(error, "likely", True)
    }
    if likely:
        (name, error), *others = likely.items()
        text = f"{path} has no corpus that can be read. {name}: {error}"
        if others:
            names = ", ".join(name for name, _ in others)
            text += f" It may also be {names}: see --corpus NAME"
        return text
    files = [x for x in find_files(path) if x.suffix.lower() in AUDIO_SUFFIXES]
    some = f" ({', '.join(x.name for x in files[:3])} ...)" if files else ""
    lists = [
        x
        for x in find_files(path, depth=1)
        if x.suffix.lower() in (".csv", ".tsv", ".jsonl")
    ]
    way = (
        "Say which corpus it should be, to be told what is missing: --corpus "
        f"NAME, one of {', '.join(corpus_names())}"
    )
    if lists:
        way += f"; or give the list of its files, such as {lists[0]}"
    return (
        f"{path} has the layout of no known corpus: {len(files)} audio "
        f"files{some}. {way}."
    )


def show_check(result):
    """Prints what `check` or `download` returned."""
    print(f"{result['corpus']}: {result['text']}")
    if result.get("failed"):
        print(f"\nNot sound: {', '.join(result['problems'])}, see above.")


def download(config):
    """Fetches a corpus."""
    from ser_keras.corpora.download import download_corpus

    manifest = download_corpus(
        # Not False, which would not even ask.
        config.corpus,
        config.data_dir,
        config.accept_licence or None,
    )
    return {
        "corpus": config.corpus,
        "utterances": len(manifest),
        "speakers": len(manifest.speakers),
        "labels": manifest.counts(),
        "text": manifest.describe(),
    }


LIST = Command(ListConfig, list_corpora, show_list)
CHECK = Command(CheckConfig, check, show_check)
DOWNLOAD = Command(DownloadConfig, download, show_check)
