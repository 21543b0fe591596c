"""ProcessExtractor: an extractor in a process of its own, without TensorFlow.

Some libraries cannot share a process with TensorFlow: openSMILE 2.6 corrupts
memory, and torch's Triton crashes, because both have LLVM.
`python -m ser_keras.features.extractors.process` is the other process.

The two processes exchange pickles over pipes and a local socket, which is
authenticated by a secret key. Nothing else is unpickled.
"""

import multiprocessing.connection
import os
import pickle
import secrets
import subprocess
import sys
import threading
import weakref
from typing import Any

import numpy as np

from ser_keras.features.extractors.base import Extractor


class ProcessExtractor(Extractor):
    """Runs another extractor in new processes, which end with this object.

    Several threads may call it at the same time.

    Args:
        extractor: Class of an `Extractor`, in a module that can be imported.
        processes: How many processes there are at most: as many as threads
            that call it. One whose library uses all cores is enough.
        **arguments: Picklable arguments of that class.

    Raises:
        Exception: The exception that the class raises.
    """

    def __init__(
        self,
        extractor: type[Extractor],
        processes: int = 1,
        **arguments: Any,
    ):
        self.name = extractor.__name__
        self._made_of = extractor, arguments
        self._processes = processes
        self._local = threading.local()
        self._lock = threading.Lock()
        self._callers = 0
        first = _Process(*self._made_of)
        weakref.finalize(self, first.end)
        self._started = [first]
        self._settings = first.settings
        self.sample_rate, self.num_features, self.frame_rate = first.attributes

    def extract(self, waveform: np.ndarray) -> np.ndarray:
        if not hasattr(self._local, "process"):
            self._local.process = self._process_of_thread()
            self._local.connection = self._local.process.connect()
        try:
            self._local.connection.send(waveform)
            answer = self._local.connection.recv()
        except (OSError, EOFError) as error:
            at = f"at {len(waveform)} samples"
            raise self._local.process.ended(at) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _process_of_thread(self):
        """What a thread calls: a new one, while there may be more."""
        with self._lock:
            number = self._callers % self._processes
            self._callers += 1
            if number == len(self._started):
                process = _Process(*self._made_of)
                weakref.finalize(self, process.end)
                self._started.append(process)
            return self._started[number]

    def settings(self) -> dict[str, Any]:
        return self._settings


class _Process:
    """One such process."""

    def __init__(self, extractor, arguments):
        self.name = extractor.__name__
        self._key = secrets.token_bytes(16)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ser_keras.features.extractors.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # So that the other process imports the same packages.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            # The class is pickled by name, and imported in the other process.
            message = pickle.dumps((self._key, extractor, arguments))
            self._process.stdin.write(message)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (OSError, EOFError) as error:
            raise self.ended("before it was ready") from error
        if isinstance(answer, Exception):
            self.end()
            raise answer
        self._address, self.attributes, self.settings = answer

    def connect(self):
        try:
            return multiprocessing.connection.Client(
                self._address, authkey=self._key
            )
        except (OSError, EOFError) as error:
            raise self.ended("before it was called") from error

    def ended(self, when):
        return RuntimeError(
            f"The process of {self.name} ended {when}, with exit code "
            f"{self._process.poll()}; see its messages above."
        )

    def end(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def main():
    """Makes the extractor, then serves requests until the input ends."""
    # Standard output carries our messages, so libraries print elsewhere.
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        key, extractor, arguments = pickle.load(sys.stdin.buffer)
        try:
            extractor = extractor(**arguments)
            attributes = [
                getattr(extractor, name)
                for name in ("sample_rate", "num_features", "frame_rate")
            ]
            listener = multiprocessing.connection.Listener(authkey=key)
            answer = listener.address, attributes, extractor.settings()
        except Exception as error:
            pickle.dump(_plain(error), output)
            return
        pickle.dump(answer, output)
    threading.Thread(
        target=_accept, args=(listener, extractor), daemon=True
    ).start()
    # The input ends with the parent process, also after a kill.
    sys.stdin.buffer.read()
    listener.close()
    os._exit(0)


def _accept(listener, extractor):
    while True:
        connection = listener.accept()
        threading.Thread(
            target=_answer, args=(connection, extractor), daemon=True
        ).start()


def _answer(connection, extractor):
    while True:
        try:
            waveform = connection.recv()
        except EOFError:
            return
        try:
            connection.send(extractor.extract(waveform))
        except Exception as error:
            connection.send(_plain(error))


def _plain(error):
    """The error as one that can be unpickled in the other process."""
    for kind in (ModuleNotFoundError, FileNotFoundError, ValueError):
        if isinstance(error, kind):
            return kind(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
