"""Free corpora from where their owners publish them."""

import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import sys
import urllib.error
import urllib.request
import zipfile

from ser_keras._files import write_text
from ser_keras.corpora.parsers import load_corpus

_BLOCK = 1 << 18
_LICENCES = ".licences.json"
_UNFINISHED = ".unfinished"
_COMPLETE = ".complete"
_ZENODO = "https://zenodo.org/api/records"
_BY_NC_SA = "CC BY-NC-SA 4.0, https://creativecommons.org/licenses/by-nc-sa/4.0"


class DownloadError(OSError):
    """A file could not be had, or is not the one that was published."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a corpus comes from, and on which terms.

    Args:
        licence: Name and address of its licence.
        page: Its owners' page.
        record: Number of its Zenodo record, if it is there.
        file: Name of the file in the record.
        checksum: Of the file, such as `"md5:..."`; None takes the one that
            the record states.
        audb: Name and version in audEERING's public repository, if there.
    """

    licence: str
    page: str
    record: str | None = None
    file: str | None = None
    checksum: str | None = None
    audb: tuple[str, str] | None = None

    @property
    def automatic(self):
        """Whether `download_corpus` can fetch it."""
        return bool(self.record or self.audb)


SOURCES = {
    "cafe": Source(
        _BY_NC_SA,
        "https://zenodo.org/records/1478765",
        record="1478765",
        file="CaFE_48k.zip",
    ),
    "crema_d": Source(
        "Open Database License 1.0, https://opendatacommons.org/licenses/odbl",
        "https://github.com/CheyneyComputerScience/CREMA-D (git lfs)",
    ),
    "emodb": Source(
        "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0",
        "https://audeering.github.io/datasets/datasets/emodb.html",
        audb=("emodb", "1.4.1"),
    ),
    "emovo": Source(
        "for research, see its page",
        "http://voice.fub.it/activities/corpora/emovo/index.html",
    ),
    "iemocap": Source(
        "by agreement with its owners", "https://sail.usc.edu/iemocap"
    ),
    "msp_improv": Source(
        "by agreement with its owners",
        "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html",
    ),
    "msp_podcast": Source(
        "by agreement with its owners",
        "https://ecs.utdallas.edu/research/researchlabs/msp-lab/"
        "MSP-Podcast.html",
    ),
    "nemo": Source(_BY_NC_SA, "https://github.com/amu-cai/nEMO"),
    "ravdess": Source(
        _BY_NC_SA,
        "https://zenodo.org/records/1188976",
        record="1188976",
        file="Audio_Speech_Actors_01-24.zip",
        checksum="md5:bc696df654c87fed845eb13823edef8a",
    ),
    "savee": Source(
        "for research, after registration",
        "http://kahlan.eps.surrey.ac.uk/savee",
    ),
    "tess": Source(
        "CC BY-NC-ND 4.0, https://creativecommons.org/licenses/by-nc-nd/4.0",
        "https://tspace.library.utoronto.ca/handle/1807/24487",
    ),
}


def download_corpus(name, root, accept_licence=None):
    """Fetches a free corpus, once, and reads it.

    The transfer goes on where it was interrupted, also in a later process.
    What arrives is compared with the published checksum before it is unpacked.
    A corpus that is already there is only read.

    Args:
        name: `"emodb"` (needs the extra `ser_keras[audformat]`), `"ravdess"`
            or `"cafe"`.
        root: Folder for the corpus.
        accept_licence: True accepts its licence. None asks on the terminal;
            the answer is kept in the folder, and not asked for again.

    Returns:
        `Manifest`.

    Raises:
        ValueError: The corpus cannot be fetched by a program (the message says
            where its owners offer it), its licence was not accepted, or the
            folder holds something else.
        DownloadError: The network failed, or the checksum is another.
    """
    if name not in SOURCES:
        raise ValueError(
            f"`name` must be one of {sorted(SOURCES)}. Received: name={name!r}"
        )
    source, folder = SOURCES[name], pathlib.Path(root).expanduser()
    if not source.automatic:
        raise ValueError(
            f"{name} cannot be fetched by a program. Its owners offer it at "
            f"{source.page} (licence: {source.licence}); then "
            f"load_corpus({name!r}, folder)."
        )
    _settle(folder)
    ours = {_LICENCES, f"{source.file}.part", source.file, _UNFINISHED}
    inside = {x.name for x in folder.iterdir()} if folder.is_dir() else set()
    if inside - ours:
        return load_corpus(name, folder)
    _ask(name, source, folder, accept_licence)
    if source.audb:
        _load_audb(source, folder / _UNFINISHED)
    else:
        checksum, url = _published(source)
        archive = folder / source.file
        download_file(source.checksum or checksum, url, archive)
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder / _UNFINISHED)
        archive.unlink()
    (folder / _UNFINISHED).rename(folder / _COMPLETE)
    _settle(folder)
    return load_corpus(name, folder)


def download_file(checksum, url, path, attempts=5, timeout=60):
    """Fetches a file, from where an earlier transfer of it was interrupted.

    Args:
        checksum: `"<algorithm>:<hexadecimal digits>"`, as in `hashlib`.
        url: Where it is.
        path: Where it goes; until it is whole, it is called `<path>.part`. A
            file of that name with that checksum is left as it is.
        attempts: Connections that are tried in a row without a new byte.
        timeout: Seconds without a byte after which a connection is given up.

    Raises:
        DownloadError: There is no connection, or the checksum is another.
    """
    path = pathlib.Path(path)
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _check(checksum, path)
        return
    left = attempts
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _transfer(url, part, before, timeout):
                break
            problem = "the connection was closed early"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # Nothing left to send.
                break
            if error.code < 500:
                raise DownloadError(f"{url}: {error}") from error
            problem = error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        after = part.stat().st_size if part.exists() else 0
        left = attempts if after > before else left - 1
        if left <= 0:
            raise DownloadError(
                f"{url}: {problem}. {after} bytes are in {part}; the next "
                "call goes on from there."
            )
    _check(checksum, part)
    os.replace(part, path)


def _transfer(url, part, have, timeout):
    """One connection; whether the file is whole after it."""
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        if response.status != 206:
            have = 0  # The server sends everything again.
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with open(part, "ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                _progress(part.stem, have, len(block), total)
    return total is None or have >= total


def _progress(name, have, new, total):
    """A line for every tenth of the file."""
    if total and have * 10 // total > (have - new) * 10 // total:
        print(f"{name}: {have / 1e6:.1f} of {total / 1e6:.1f} MB", flush=True)


def _check(checksum, path):
    algorithm, _, expected = checksum.partition(":")
    with open(path, "rb") as file:
        digest = hashlib.new(algorithm)
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != expected:
        if path.suffix == ".part":
            path.unlink()  # Going on from a wrong beginning cannot end well.
        raise DownloadError(
            f"{path} has the {algorithm} {digest.hexdigest()}, but {expected} "
            "was published. It was damaged on its way, or is another release: "
            "try again."
        )


def _published(source):
    """Checksum and address that a Zenodo record states for a file."""
    url = f"{_ZENODO}/{source.record}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            files = json.load(response)["files"]
        found = {x["key"]: (x["checksum"], x["links"]["self"]) for x in files}
        return found[source.file]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DownloadError(
            f"{url} does not say where {source.file} is: {error!r}. Its page "
            f"is {source.page}."
        ) from error


def _settle(folder):
    """Moves what is complete into its place.

    A corpus grows beside its place and is then renamed, so that half of one is
    never read, whenever the process is killed.
    """
    complete = folder / _COMPLETE
    if complete.is_dir():
        for path in sorted(complete.iterdir()):
            path.rename(folder / path.name)
        complete.rmdir()


def _load_audb(source, folder):
    try:
        import audb
    except ImportError as error:
        raise ImportError(
            "This download needs the extra: pip install 'ser_keras[audformat]'"
        ) from error
    name, version = source.audb
    try:
        audb.load_to(folder, name, version=version, verbose=False)
    except Exception as error:  # Each of its back ends has errors of its own.
        raise DownloadError(
            f"audb could not load {name} {version}: {error!r}"
        ) from error


def _ask(name, source, folder, accept):
    file = folder / _LICENCES
    accepted = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        accepted = json.loads(file.read_text(encoding="utf-8"))
    if accepted.get(name) == source.licence:
        return
    terms = f"{name}: licence {source.licence}. Page: {source.page}."
    if accept is None and sys.stdin is not None and sys.stdin.isatty():
        accept = input(f"{terms}\nAccept? [y/N] ").lower() in ("y", "yes")
    if not accept:
        raise ValueError(
            f"{terms} Nothing was fetched, because this licence was not "
            "accepted; pass accept_licence=True (--accept-licence on the "
            "command line) if you accept it."
        )
    print(terms, flush=True)
    accepted[name] = source.licence
    write_text(file, json.dumps(accepted, indent=1))
