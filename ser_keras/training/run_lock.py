"""Lock of a run's folder with a heartbeat, on a local or a shared disk."""

import contextlib
import ctypes
import json
import os
import pathlib
import socket
import sys
import threading
import time
import uuid
from types import TracebackType
from typing import Any

#: Environment variable: seconds without a heartbeat after which a lock counts
#: as left behind.
STALE_SECONDS = "SER_KERAS_STALE_SECONDS"
_STALE_SECONDS = 90.0
# Several beats may be missed, on a disk that is busy.
_BEATS = 12

# Files of the locks that this process holds. They are made and removed under
# `_guard`: a file that is there and not in `_held` counts as left behind.
_held: set[pathlib.Path] = set()
_guard = threading.Lock()


class RunLockedError(RuntimeError):
    """A run's folder is being worked on by another process."""

    def __init__(
        self,
        message: str = "the lock of the run's folder was taken over, as this "
        "process gave no sign of life for too long",
    ):
        super().__init__(message)


class RunLock:
    """Lock of a folder: one process works in it at a time, on any machine.

    `with RunLock(folder):` makes the file `.lock` there, with who holds it. A
    thread refreshes its time of modification; whoever finds a lock waits until
    it is removed, or for `stale_seconds` without a heartbeat, and takes it
    over then. Where the holder was a process of the same machine that has
    ended, it is taken over at once. No clocks are compared, and nothing but
    exclusive creation and replacement of files is asked of the disk, so that
    it may be a network's.

    A process that was suspended for so long that its lock was taken over gets
    a `RunLockedError` in the thread that holds the lock.

    Args:
        folder: The folder; it is made if it is missing.
        stale_seconds: Seconds without a heartbeat after which the holder
            counts as lost. Default: `SER_KERAS_STALE_SECONDS`, or 90.
        wait: Whether to wait for a lock that another process holds.

    Raises:
        RunLockedError: Another process holds it, and `wait` is false.
        ValueError: `stale_seconds` is not positive.

    Example:
    >>> folder = getfixture("tmp_path")
    >>> with RunLock(folder):
    ...     (folder / ".lock").exists()
    True
    >>> (folder / ".lock").exists()
    False
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        stale_seconds: float | None = None,
        wait: bool = True,
    ):
        self.file = pathlib.Path(folder).absolute() / ".lock"
        self.stale_seconds = _stale_seconds(stale_seconds)
        self.wait = wait
        self._beat_seconds = self.stale_seconds / _BEATS

    def __enter__(self) -> "RunLock":
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._token = uuid.uuid4().hex
        seen, since, told = None, 0.0, False
        while not self._create(self.file):
            state = _read(self.file)
            if state is None:
                continue  # It was removed in between.
            if state != seen:
                seen, since = state, time.monotonic()
            silent = time.monotonic() - since
            if _ended(self.file, state[0]) or silent > self.stale_seconds:
                if self._take_over(state):
                    break
                continue
            if not self.wait:
                raise RunLockedError(_text(self.file.parent, state[0]))
            if not told:
                print(_text(self.file.parent, state[0]), flush=True)
                told = True
            time.sleep(min(self._beat_seconds, 1.0))
        self._released = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(threading.get_ident(),), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._released.set()
        self._thread.join()
        with _guard:
            if self._is_mine():
                self.file.unlink(missing_ok=True)
            _held.discard(self.file)

    def _create(self, file):
        """Whether the file was made, which only one process can do."""
        with _guard:
            try:
                descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return False
            _held.add(file)
        with open(descriptor, "w", encoding="utf-8") as stream:
            # Of a copy of the folder it is another.
            inode = os.fstat(descriptor).st_ino
            owner = {**_owner(), "inode": inode, "token": self._token}
            stream.write(json.dumps(owner))
        return True

    def _take_over(self, state):
        """Whether the lock in this state was replaced by this one.

        Whoever makes the claim may replace the lock. It is a file of its own
        as somebody else, who found the lock stale too, may have replaced it
        meanwhile; that one has a heartbeat.
        """
        claim = self.file.with_name(".lock_claim")
        if not self._create(claim):
            # It exists for milliseconds, unless its maker was killed.
            claimed = _read(claim)
            time.sleep(min(self._beat_seconds, 1.0))
            if claimed is not None and _read(claim) == claimed:
                if _ended(claim, claimed[0]) or self._silent(claim, claimed):
                    with contextlib.suppress(FileNotFoundError):
                        claim.unlink()
            return False
        try:
            if _read(self.file) != state:
                return False
            mine = self.file.with_name(f".lock_{uuid.uuid4().hex}")
            self._create(mine)
            with _guard:
                os.replace(mine, self.file)
                _held.add(self.file)
                _held.discard(mine)
        finally:
            with _guard:
                claim.unlink(missing_ok=True)
                _held.discard(claim)
        owner = _parsed(state[0])
        print(
            f"{self.file.parent}: taken over from process {owner.get('pid')} "
            f"on {owner.get('host')}, which has ended or stopped",
            flush=True,
        )
        return True

    def _silent(self, file, state):
        """Whether a file stays as it is for `stale_seconds`."""
        end = time.monotonic() + self.stale_seconds
        while time.monotonic() < end:
            time.sleep(min(self._beat_seconds, 1.0))
            if _read(file) != state:
                return False
        return True

    def _is_mine(self):
        state = _read(self.file)
        return state is not None and (
            _parsed(state[0]).get("token") == self._token
        )

    def _beat(self, thread):
        while not self._released.wait(self._beat_seconds):
            try:
                if self._is_mine():
                    os.utime(self.file)
                    continue
            except OSError as error:  # A disk that is away for a moment.
                print(f"{self.file}: {error}", file=sys.stderr, flush=True)
                continue
            # The only way to stop what the other thread is doing.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(RunLockedError)
            )
            return


def _stale_seconds(given):
    source = "`stale_seconds`"
    if given is None:
        source = f"The environment variable {STALE_SECONDS}"
        given = os.environ.get(STALE_SECONDS, _STALE_SECONDS)
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ValueError(
            f"{source} must be a positive number of seconds. Received: {given}"
        )
    return seconds


def _owner():
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _machine():
    """Names where a process number means the same process.

    Containers may share a machine, or a name, but not both.
    """
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _started(pid):
    """When a process was started, in ticks; None of one that has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # After the name, which may hold anything: the state, ... the start.
    state, *rest = status.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])


def _read(file):
    """Content and time of modification of a lock; None if there is none."""
    try:
        # Not `stat`: a network's disk answers that from a cache.
        with open(file, encoding="utf-8") as stream:
            modified = os.fstat(stream.fileno()).st_mtime_ns
            return stream.read(), modified
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == 116:  # ESTALE: replaced on a network's disk.
            return None
        raise


def _parsed(content: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        owner = json.loads(content)
        if isinstance(owner, dict):
            return owner
    return {}  # Its writer is just making it, or was killed then.


def _ended(file, content):
    """Whether the owner is known to have ended; a copy has none."""
    owner = _parsed(content)
    known = {"machine", "pid", "started", "inode"} <= owner.keys()
    if not known or owner["machine"] != _machine():
        return False
    with contextlib.suppress(FileNotFoundError):
        if os.stat(file).st_ino != owner["inode"]:
            return True
    if owner["pid"] == os.getpid():
        with _guard:
            return file not in _held
    return _started(owner["pid"]) != owner["started"]


def _text(folder, content):
    owner = _parsed(content)
    return (
        f"{folder} is being worked on by process {owner.get('pid', '?')} on "
        f"{owner.get('host', '?')}, whose result is waited for; end that "
        "process to go on here"
    )
