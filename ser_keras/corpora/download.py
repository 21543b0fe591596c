"""Downloading free corpora from their owners' sites."""

from __future__ import annotations

import contextlib
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
from typing import TYPE_CHECKING

from ser_keras._errors import needs_extra
from ser_keras._files import write_text
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import corpus_source
from ser_keras.corpora.parsers import load_corpus

if TYPE_CHECKING:
    from ser_keras.corpora.manifest import Manifest

_BLOCK = 1 << 18
_LICENCES = ".licences.json"
_UNFINISHED = ".unfinished"
_COMPLETE = ".complete"
_ZENODO = "https://zenodo.org/api/records"


class DownloadError(OSError):
    """A file could not be downloaded, or has another checksum."""


def download_corpus(
    name: str, root: str | os.PathLike[str], accept_licence: bool | None = None
) -> Manifest:
    """Downloads a free corpus, unless it is in the folder, and reads it.

    An interrupted transfer is resumed, also by a later process. The archive is
    compared with the published checksum before it is unpacked.

    Args:
        name: `"emodb"` (needs the extra `ser_keras[audformat]`), `"ravdess"`
            or `"cafe"`.
        root: Folder for the corpus.
        accept_licence: True accepts its licence. None asks on the terminal;
            the answer is stored in the folder.

    Returns:
        `Manifest`.

    Raises:
        ValueError: The corpus has no automatic download (the message has its
            owners' page), its licence was not accepted, or the folder has
            other files.
        DownloadError: The network failed, or the checksum differs.
    """
    sources = {known: corpus_source(known) for known in corpus_names()}
    source, folder = sources.get(name), pathlib.Path(root).expanduser()
    if source is None:
        named = sorted(known for known, x in sources.items() if x)
        raise ValueError(f"`name` must be one of {named}. Received: {name=}")
    if not source.automatic:
        raise ValueError(
            f"{name} has no automatic download. Get it from its owners, "
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
        archive = folder / source.file  # type: ignore[operator]
        download_file(source.checksum or checksum, url, archive)
        shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder / _UNFINISHED)
        archive.unlink()
    (folder / _UNFINISHED).rename(folder / _COMPLETE)
    _settle(folder)
    return load_corpus(name, folder)


def download_file(checksum, url, path, attempts=5, timeout=60):
    """Downloads a file; an interrupted transfer is resumed.

    Args:
        checksum: `"<algorithm>:<hexadecimal digits>"`, as in `hashlib`.
        url: Address of the file.
        path: File to write; it is called `<path>.part` until it is complete. A
            file of that name with that checksum is left as it is.
        attempts: Number of connections in a row that may bring no new byte.
        timeout: Seconds without a byte after which a connection is closed.

    Raises:
        DownloadError: There is no connection, or the checksum differs.
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
            if error.code == 416:  # Range not satisfiable: all is here.
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
                f"{url}: {problem}. {after} bytes are in {part}; run it again "
                "to resume."
            )
    _check(checksum, part)
    os.replace(part, path)


def _transfer(url, part, have, timeout):
    """One connection; returns whether the file is complete after it."""
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        if response.status != 206:
            have = 0  # The server ignores ranges and sends all of it.
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with open(part, "ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                _progress(part.stem, have, len(block), total)
    return total is None or have >= total


def _progress(name, have, new, total):
    """Prints a line for every tenth of the file."""
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
            path.unlink()  # Not to be resumed.
        raise DownloadError(
            f"{path} has the {algorithm} {digest.hexdigest()}, but {expected} "
            "was published. It was damaged in transfer, or is another release: "
            "try again."
        )


def _published(source):
    """Checksum and address of a file in a Zenodo record."""
    url = f"{_ZENODO}/{source.record}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            files = json.load(response)["files"]
        found = {x["key"]: (x["checksum"], x["links"]["self"]) for x in files}
        return found[source.file]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DownloadError(
            f"{url} has no entry for {source.file}: {error!r}. See "
            f"{source.page}"
        ) from error


def _settle(folder):
    """Moves a complete download to its final place.

    A corpus is unpacked into another folder and then renamed, so that an
    incomplete one is never read after a kill.
    """
    complete = folder / _COMPLETE
    if complete.is_dir():
        for path in sorted(complete.iterdir()):
            path.rename(folder / path.name)
        complete.rmdir()


def _load_audb(source, folder):
    with needs_extra("This download", "audformat"):
        import audb
    name, version = source.audb
    try:
        audb.load_to(folder, name, version=version, verbose=False)
    except Exception as error:  # Its back ends have no common error class.
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
            f"{terms} Nothing was downloaded, because this licence was not "
            "accepted; pass accept_licence=True (--accept-licence on the "
            "command line) if you accept it."
        )
    print(terms, flush=True)
    accepted[name] = source.licence
    write_text(file, json.dumps(accepted, indent=1))
