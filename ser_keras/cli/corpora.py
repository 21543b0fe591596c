"""`ser_keras corpora`: which corpora there are, and whether one is sound."""

import dataclasses

from ser_keras.cli.command import Command
from ser_keras.data.corpora import CorpusError
from ser_keras.data.corpora import corpus_names
from ser_keras.data.corpora import load_corpus


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """Corpora that can be read and protocols that divide them."""


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """Reads a corpus, and looks for what is wrong with it.

    Exit status 1 means that there is something a training should not see.
    """

    data_dir: str = dataclasses.field(metadata={"positional": True})
    """Folder of the corpus, in the layout of its original release."""
    corpus: str = ""
    """Name of the corpus; `ser_keras corpora list` has all. By default the
    one whose layout the folder has."""


def list_corpora(config):
    """Names of corpora and of protocols."""
    from ser_keras.evaluation.protocols import PROTOCOLS

    return {
        "corpora": list(corpus_names()),
        "protocols": {p.name: p.to_dict() for p in PROTOCOLS.values()},
    }


def show_list(result):
    """Prints what `list_corpora` returned."""
    from ser_keras.evaluation.protocols import PROTOCOLS

    print("corpora:")
    for name in result["corpora"]:
        print(f"  {name}")
    print("protocols:")
    for protocol in PROTOCOLS.values():
        print(f"  {protocol.describe()}")


def check(config):
    """Reads a corpus and audits it."""
    from ser_keras.data.audit import audit_corpus

    name, manifest = _read(config)
    audit = audit_corpus(manifest)
    return {
        "corpus": name,
        "utterances": len(manifest),
        "speakers": len(manifest.speakers),
        "labels": manifest.counts(),
        "audit": audit.to_dict(),
        "text": manifest.describe() + "\n\n" + audit.describe(),
    }


def _read(config):
    if config.corpus:
        return config.corpus, load_corpus(config.corpus, config.data_dir)
    found, errors = {}, []
    for name in corpus_names():
        try:
            found[name] = load_corpus(name, config.data_dir)
        except (CorpusError, ValueError, OSError) as error:
            errors.append(f"  {name}: {error}")
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
    """Prints what `check` returned."""
    print(f"{result['corpus']}: {result['text']}")


LIST = Command(ListConfig, list_corpora, show_list)
CHECK = Command(CheckConfig, check, show_check)
