"""Cache of the content of audio files, shared by all runs of a user.

It is one SQLite file with two tables. The first has the hash of a file's bytes
by path, size, times and inode; if any of them differs, the bytes are read and
hashed again, which is many times faster than decoding. The second has the
decoded content by the hash of the bytes, so that a corpus that was moved or
copied is not decoded again. A changed file is mistaken for the old one only if
all its times are equal to the nanosecond, including the change time of the
inode, which programs cannot set.
"""

import concurrent.futures
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
except ImportError:  # A Python that was built without it.
    sqlite3 = None  # type: ignore[assignment]

_LOG = logging.getLogger(__name__)
_VARIABLE = "SER_KERAS_CACHE"
_NAME = "audio_contents_1.sqlite3"  # The number is that of these tables.
# Times of files have steps of milliseconds, on some file systems of 2 seconds,
# within which a file can change without another time.
_SETTLED_NS = 2_500_000_000
_WAIT = 10.0  # Seconds to wait for another process that writes.
_BLOCK = 1 << 20
_CHUNK = 512  # Files between two writes to the cache.
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
    """State of a file at one moment.

    Args:
        state: Device, inode, size and times, as text.
        bytes: Hash of its bytes.
        settled: Whether the last change is so long ago that any later one
            changes `state`.
        known: Whether the hash is from the cache.
    """

    state: str
    bytes: str
    settled: bool
    known: bool = False

    def holds(self, path):
        """Whether the file still has this state."""
        try:
            with open(path, "rb") as file:
                return _state(file)[0] == self.state
        except OSError:
            return False


def cache_file():
    """Path of the cache, or None if it is switched off.

    The environment variable `SER_KERAS_CACHE` names its folder, or is `off`.
    By default it is `ser_keras` in the user's cache folder, `XDG_CACHE_HOME`
    or `~/.cache`.

    Raises:
        RuntimeError: The user has no home folder.
    """
    folder = os.environ.get(_VARIABLE)
    if folder in ("off", "0"):
        return None
    if folder:
        return pathlib.Path(folder).expanduser().absolute() / _NAME
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if not root.expanduser().is_absolute():  # Ignored, as XDG demands.
        root = pathlib.Path("~/.cache")
    return root.expanduser() / "ser_keras" / _NAME


class AudioContentCache:
    """Context manager of the cache, which several processes may use at once.

    Errors of the cache are logged once a process and otherwise ignored; audio
    is then decoded.

    Args:
        version: Version of the cached content. Other versions are not read.
    """

    def __init__(self, version):
        # Decoders of lossy formats may differ in their samples.
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
                # Private: it holds names of files.
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
        """`FileState` of each readable file.

        Args:
            paths: Iterable of files.
            pool: Executor whose threads read them.

        Returns:
            Dict from path; empty without a cache.
        """
        paths = list(dict.fromkeys(paths))
        rows = [self._row("files", _path_key(path)) for path in paths]
        if self._connection is None:
            return {}  # Without a cache, hashing bytes is of no use.
        states = pool.map(_file_state, paths, rows)
        return {p: x for p, x in zip(paths, states, strict=True) if x}

    def read(self, utterances, states):
        """Cached content, a dict from id, of the utterances that have some."""
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
        """Stores contents, and the states of their files.

        Args:
            found: List of utterances and JSON objects, of files whose states
                were the same before and after decoding.
            states: What `states` returned. Only settled ones are stored.
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
            # A cache that cannot be written can still be read.
            self._writes = False
            self._say(error, "is not written to")

    def _row(self, table, key):
        """Columns between key and checksum; None if there is no valid row."""
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
        # SQLite has no checksums.
        if row is None or row[-1] != _mark(*row[:-1]):
            return None
        return row[1:-1]

    def _key(self, utterance, state):
        # libsndfile takes the format of headerless files from the name.
        kind = pathlib.PurePath(utterance.path).suffix.lower()
        segment = utterance.start, utterance.end
        return repr((*self._version, kind, state.bytes, *segment))

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


def file_hashes(paths, jobs=None):
    """Hash of the bytes of each file, from the cache where it is unchanged.

    Args:
        paths: Iterable of files.
        jobs: Threads; None means one for each processor.

    Returns:
        Dict from path to a hash, 32 hexadecimal digits; without files that
        cannot be read.
    """
    paths, found = list(dict.fromkeys(paths)), {}
    with (
        concurrent.futures.ThreadPoolExecutor(
            jobs or len(os.sched_getaffinity(0))
        ) as pool,
        AudioContentCache("hashes of bytes only") as cache,
    ):
        for first in range(0, len(paths), _CHUNK):
            part = paths[first : first + _CHUNK]
            states = cache.states(part, pool)
            cache.write([], states)
            found.update({path: x.bytes for path, x in states.items()})
            rest = [path for path in part if path not in states]
            for path, x in zip(
                rest,
                pool.map(_file_state, rest, [None] * len(rest)),
                strict=True,
            ):
                if x is not None:
                    found[path] = x.bytes
    return found


def _file_state(path, row):
    """State of a file, given its row of the cache; None if unreadable."""
    now = time.time_ns()
    try:
        # Opening it makes network file systems ask their server for the state,
        # and detects a file that cannot be read any more.
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
    """State of an open file as text, and the time of its last change."""
    x = os.fstat(file.fileno())
    numbers = x.st_dev, x.st_ino, x.st_size, x.st_mtime_ns, x.st_ctime_ns
    return " ".join(map(str, numbers)), max(x.st_mtime_ns, x.st_ctime_ns)


def _path_key(path):
    # Bytes: not every file name is valid text.
    return os.fsencode(os.path.abspath(path))


def _mark(*columns):
    return hashlib.blake2b(repr(columns).encode(), digest_size=8).hexdigest()
