"""`ser_keras corpora`: which corpora there are, and whether one is sound."""

import dataclasses
import pathlib

from ser_keras.cli.command import Command
from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import load_corpus


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """Corpora that can be read and protocols that divide them."""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Reads a corpus, and looks for what is wrong with it.

    Exit status 1 means that there is something a training should not see: a
    file that cannot be used, silence, or one recording under two names (as
    published, RAVDESS has one). Clipped and short files are only listed.
    """

    data_dir: str = dataclasses.field(metadata={"positional": True})
    """Folder of the corpus, in the layout of its original release."""
    corpus: str = ""
    """Name of the corpus; `ser_keras corpora list` has all. By default the
    one whose layout the folder has; a corpus of its own goes before
    audformat, which many corpora can come in."""


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
    audit = audit_corpus(manifest)
    return {
        "corpus": name,
        "utterances": len(manifest),
        "speakers": len(manifest.speakers),
        "labels": manifest.counts(),
        "audit": audit.to_dict(),
        "text": manifest.describe() + "\n\n" + audit.describe(),
        "failed": not audit.sound,
    }


def _read(config):
    if config.corpus:
        return config.corpus, load_corpus(config.corpus, config.data_dir)
    path = pathlib.Path(config.data_dir).expanduser()
    if not path.exists():
        raise CorpusError(f"{path} does not exist.")
    if path.is_file():
        return "manifest", load_corpus("manifest", path)
    found, errors = {}, []
    for name in corpus_names():
        try:
            found[name] = load_corpus(name, path)
        except (ImportError, ValueError, OSError) as error:
            errors.append(f"  {name}: {error}")
    if len(found) > 1:
        found.pop("audformat", None)
    if not found:
        raise CorpusError(
            f"{config.data_dir} has the layout of no known corpus. Say which "
            "one it should be with --corpus:\n" + "\n".join(errors)
        )
    if len(found) > 1:
        raise CorpusError(
            f"{config.data_dir} can be read as {', '.join(found)}. Say with "
            "--corpus which one it is."
        )
    return found.popitem()


def show_check(result):
    """Prints what `check` or `download` returned."""
    print(f"{result['corpus']}: {result['text']}")
    if result.get("failed"):
        print("\nNot sound: unusable, silent or identical files, see above.")


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
