"""Extractors in a process of their own, without TensorFlow.

Some libraries cannot share a process with TensorFlow: openSMILE 2.6 writes over
foreign memory, and torch's Triton ends the process, because both bring LLVM.
`python -m ser_keras.features.extractors.process` is the other process.

The two speak in pickles, over pipes and a local socket that takes nobody
without a key that only both know. No file, and nothing from outside, is
unpickled.
"""

import multiprocessing.connection
import os
import pickle
import secrets
import subprocess
import sys
import threading
import weakref

from ser_keras.features.extractors.base import Extractor


class ProcessExtractor(Extractor):
    """Runs another extractor in a new process, which ends with this object.

    It answers as many threads at a time as call it.

    Args:
        extractor: Class of an `Extractor`, in a module that can be imported.
        **arguments: Of that class; picklable.

    Raises:
        Exception: What the class raises of its arguments.
    """

    def __init__(self, extractor, **arguments):
        self.name = extractor.__name__
        self._key = secrets.token_bytes(16)
        self._mine = threading.local()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ser_keras.features.extractors.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Where this process found the library.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        weakref.finalize(self, _end, self._process)
        try:
            # One message: the class is named, and imported there only.
            message = pickle.dumps((self._key, extractor, arguments))
            self._process.stdin.write(message)
            self._process.stdin.flush()
            answer = pickle.load(self._process.stdout)
        except (OSError, EOFError) as error:
            raise self._ended("before it was ready") from error
        if isinstance(answer, Exception):
            raise answer
        self._address, facts, self._settings = answer
        self.sample_rate, self.num_features, self.frame_rate = facts

    def extract(self, waveform):
        try:
            if not hasattr(self._mine, "connection"):
                self._mine.connection = multiprocessing.connection.Client(
                    self._address, authkey=self._key
                )
            self._mine.connection.send(waveform)
            answer = self._mine.connection.recv()
        except (OSError, EOFError) as error:
            raise self._ended(f"at {len(waveform)} samples") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def settings(self):
        return self._settings

    def _ended(self, when):
        return RuntimeError(
            f"The process of {self.name} ended {when}, with exit code "
            f"{self._process.poll()}; its messages are above"
        )


def _end(process):
    process.stdin.close()
    process.stdout.close()
    process.wait()


def main():
    """Makes the extractor, then answers until the input ends."""
    # What a library prints must not come between our messages.
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        key, extractor, arguments = pickle.load(sys.stdin.buffer)
        try:
            extractor = extractor(**arguments)
            facts = [
                getattr(extractor, name)
                for name in ("sample_rate", "num_features", "frame_rate")
            ]
            listener = multiprocessing.connection.Listener(authkey=key)
            answer = listener.address, facts, extractor.settings()
        except Exception as error:
            pickle.dump(_plain(error), output)
            return
        pickle.dump(answer, output)
    threading.Thread(
        target=_accept, args=(listener, extractor), daemon=True
    ).start()
    # It ends with the other process, however that ends.
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
    """The error, as one that the other process can read."""
    for kind in (ModuleNotFoundError, FileNotFoundError, ValueError):
        if isinstance(error, kind):
            return kind(str(error))
    return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
