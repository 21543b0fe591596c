"""What decoding has told of each audio file, kept between runs.

One SQLite file for all corpora and runs of a user. There are two steps to it:
a file's path, size, times and inode tell whether its bytes are those that were
read before; if they do not, the bytes are read and hashed, which is many times
faster than decoding. The hash of the bytes tells what is in them. So a corpus
that was moved or copied is not decoded again either, and whatever the times
say, nothing is taken for what it is not unless they are the same to the
nanosecond, the file's time of change included, which no program can set.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import platform
import time

import soundfile

try:
    import sqlite3
except ImportError:  # Of a Python that was built without it.
    sqlite3 = None

_LOG = logging.getLogger(__name__)
_VARIABLE = "SER_KERAS_CACHE"
_NAME = "audio_contents_1.sqlite3"  # Of these tables.
# A file may be written again without its times showing it: they are in steps of
# milliseconds, on some file systems of 2 seconds. After that they tell.
_SETTLED_NS = 2_500_000_000
_WAIT = 10.0  # Seconds for another process that writes.
_BLOCK = 1 << 20
_TABLES = """
CREATE TABLE IF NOT EXISTS files
    (path BLOB PRIMARY KEY, state TEXT, bytes TEXT, mark TEXT);
CREATE TABLE IF NOT EXISTS contents
    (key TEXT PRIMARY KEY, found TEXT, mark TEXT);
"""
_ERRORS = (OSError, RuntimeError) + ((sqlite3.Error,) if sqlite3 else ())
_said = set()


@dataclasses.dataclass(frozen=True)
class FileState:
    """A file at one moment.

    Args:
        state: Its device, inode, size and times, as text.
        bytes: Hash of its bytes.
        settled: Whether it was changed so long ago that any later change
            would show in `state`.
        known: Whether the bytes were not read, as `state` was known.
    """

    state: str
    bytes: str
    settled: bool
    known: bool = False

    def holds(self, path):
        """Whether the file is still as it was then."""
        try:
            with open(path, "rb") as file:
                return _state(file)[0] == self.state
        except OSError:
            return False


def cache_file():
    """Path of the cache, or None if it is switched off.

    In the folder that `SER_KERAS_CACHE` names, which is `off` for no cache; by
    default in `ser_keras` of the user's cache folder, `XDG_CACHE_HOME` or
    `~/.cache`.

    Raises:
        RuntimeError: There is no home folder.
    """
    folder = os.environ.get(_VARIABLE)
    if folder in ("off", "0"):
        return None
    if folder:
        return pathlib.Path(folder).expanduser().absolute() / _NAME
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if not root.expanduser().is_absolute():  # It is to be ignored then.
        root = pathlib.Path("~/.cache")
    return root.expanduser() / "ser_keras" / _NAME


class AudioContentCache:
    """A context; what goes wrong with the cache in it stops nothing.

    It is said once in a process, and everything is decoded. Several processes
    may use a cache at the same time.

    Args:
        version: Of what is kept. Other versions are not read.
    """

    def __init__(self, version):
        # Coded with loss, another decoder's samples may be others.
        decoder = soundfile.__libsndfile_version__, platform.machine()
        self._version = version, *decoder
        self._file = self._connection = None
        self._writes = True

    def __enter__(self):
        try:
            self._file = cache_file()
            if self._file is not None and sqlite3 is None:
                raise RuntimeError("this Python has no sqlite3")
            if self._file is not None:
                # Names of files are their user's business.
                self._file.parent.mkdir(0o700, parents=True, exist_ok=True)
                self._connection = sqlite3.connect(self._file, timeout=_WAIT)
                self._connection.executescript(_TABLES)
        except _ERRORS as error:
            self._stop(error)
        return self

    def __exit__(self, *_):
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def states(self, paths, pool):
        """`FileState` of each file that can be read.

        Args:
            paths: Iterable of files.
            pool: Executor whose threads read them.

        Returns:
            Dict from path; nothing without a cache.
        """
        paths = list(dict.fromkeys(paths))
        rows = [self._row("files", _path_key(path)) for path in paths]
        if self._connection is None:
            return {}  # Not even bytes are read.
        states = pool.map(_file_state, paths, rows)
        return {p: x for p, x in zip(paths, states, strict=True) if x}

    def read(self, utterances, states):
        """Dict from id to what `write` was given, of those that are known."""
        found = {}
        for utterance in utterances:
            state = states.get(utterance.path)
            if state is None:
                continue
            row = self._row("contents", self._key(utterance, state))
            if row is not None:
                found[utterance.id] = json.loads(row[0])
        return found

    def write(self, found, states):
        """Keeps what was found, and the states of the files.

        Args:
            found: List of utterances and JSON objects, of files whose states
                were the same after decoding as before.
            states: What `states` returned. Only settled ones are kept.
        """
        contents = []
        for utterance, value in found:
            state = states[utterance.path]
            if state.settled:
                row = self._key(utterance, state), json.dumps(value)
                contents.append((*row, _mark(*row)))
        files = []
        for path, state in states.items():
            if state.settled and not state.known:
                row = _path_key(path), state.state, state.bytes
                files.append((*row, _mark(*row)))
        if self._connection is None or not self._writes:
            return
        if not files and not contents:
            return
        try:
            with self._connection:
                for table, rows in (("files", files), ("contents", contents)):
                    marks = "?, ?, ?, ?" if table == "files" else "?, ?, ?"
                    self._connection.executemany(
                        f"INSERT OR REPLACE INTO {table} VALUES ({marks})",
                        rows,
                    )
        except _ERRORS as error:
            # One that may only be read is as good as before.
            self._writes = False
            self._say(error, "is not written to")

    def _row(self, table, key):
        """Columns after the key, before the mark; None if there are none."""
        if self._connection is None:
            return None
        column = "path" if table == "files" else "key"
        try:
            row = self._connection.execute(
                f"SELECT * FROM {table} WHERE {column} = ?", (key,)
            ).fetchone()
        except _ERRORS as error:
            self._stop(error)
            return None
        # SQLite has no checksums of its own.
        if row is None or row[-1] != _mark(*row[:-1]):
            return None
        return row[1:-1]

    def _key(self, utterance, state):
        # Of what has no header, libsndfile takes the format from the name.
        kind = pathlib.PurePath(utterance.path).suffix.lower()
        stretch = utterance.start, utterance.end
        return repr((*self._version, kind, state.bytes, *stretch))

    def _stop(self, error):
        with contextlib.suppress(*_ERRORS):
            self.__exit__()
        self._say(error, "is not used, and all audio is decoded")

    def _say(self, error, what):
        said = str(self._file), what
        if said not in _said:
            _said.add(said)
            _LOG.warning(
                "The cache of audio hashes %s %s: %s. It may be deleted; "
                "%s names another folder, or is 'off'.",
                self._file or "",
                what,
                error,
                _VARIABLE,
            )


def _file_state(path, row):
    """State of a file, given what is known of it; None if there is none."""
    now = time.time_ns()
    try:
        # Opened, not only asked for its state: that makes network file systems
        # ask the server, and shows a file that may no longer be read.
        with open(path, "rb") as file:
            state, changed = _state(file)
            settled = changed + _SETTLED_NS < now
            if row is not None and row[0] == state:
                return FileState(state, row[1], settled, known=True)
            digest = hashlib.blake2b(digest_size=16)
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return None
    return FileState(state, digest.hexdigest(), settled)


def _state(file):
    """All that a file system tells of changes, and the time of the last."""
    x = os.fstat(file.fileno())
    numbers = x.st_dev, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns
    return " ".join(map(str, numbers)), max(x.st_mtime_ns, x.st_ctime_ns)


def _path_key(path):
    # Bytes: not every name is text.
    return os.fsencode(os.path.abspath(path))


def _mark(*columns):
    return hashlib.blake2b(repr(columns).encode(), digest_size=8).hexdigest()
