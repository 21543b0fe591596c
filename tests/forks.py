"""Python programs in forks of a process that has imported what they import.

A new interpreter takes four seconds to import TensorFlow, and the tests start
dozens. A fork has it already, and as the process that forks has not run one
operation, it has none of TensorFlow's threads that a fork would miss.

    forks.run(["-m", "ser_keras", "--version"]).stdout

Only for programs whose start is not what is tested: what TensorFlow reads in
the environment while it is imported is that of the first test's.
"""

import atexit
import contextlib
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import types

#: What the programs import, so far as it is the same in all.
MODULES = (
    "tensorflow",
    "keras",
    "matplotlib.pyplot",
    "scipy.signal",
    "sklearn.metrics",
    "ser_keras.experiments.driver",
    "ser_keras.experiments.emodarts",
    "ser_keras.experiments.light_sernet",
    "ser_keras.export.saved_model.export",
    "ser_keras.reports.report",
)


class Program:
    """A running program, as `subprocess.Popen`.

    Args:
        arguments: As of the interpreter: a script, `-m` and a module, or `-c`
            and code; then those of the program.
        stdout: File of its output.
        stderr: File of its errors.
        env: Environment; None means that of this process.
        cwd: Folder; None means that of this process.
    """

    def __init__(self, arguments, stdout, stderr, env=None, cwd=None):
        self.returncode = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        request = {
            "arguments": [str(argument) for argument in arguments],
            "env": dict(os.environ if env is None else env),
            "cwd": os.path.abspath(cwd or "."),
        }
        descriptors = [stdout.fileno(), stderr.fileno()]
        socket.send_fds(self._connection, [b"."], descriptors)
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self.pid = _number(self._connection)

    def poll(self):
        """Its exit status, None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.001)
        return self.returncode

    def wait(self, timeout=None):
        """Its exit status, once it has ended."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = _number(self._connection)
            except TimeoutError:
                raise subprocess.TimeoutExpired("fork", timeout) from None
            self._connection.close()
        return self.returncode

    def send_signal(self, number):
        """Sends it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it, if it runs."""
        self.send_signal(signal.SIGKILL)
        self.wait()


def run(arguments, env=None, cwd=None, timeout=600):
    """Runs a program to its end.

    Args:
        arguments: See `Program`.
        env: See `Program`.
        cwd: See `Program`.
        timeout: Seconds after which it is killed.

    Returns:
        `subprocess.CompletedProcess` with all that it printed, as text.
    """
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        program = Program(arguments, out, err, env, cwd)
        try:
            status = program.wait(timeout)
        finally:
            program.kill()
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read())
    return subprocess.CompletedProcess(arguments, status, *printed)


def _number(connection):
    (number,) = struct.unpack("=i", connection.recv(4, socket.MSG_WAITALL))
    return number


_address = None


def _server():
    """Address of the process that forks, which ends with this one."""
    global _address
    if _address is None:
        address = os.path.join(tempfile.mkdtemp(), "forks")
        ready, told = os.pipe()
        process = subprocess.Popen(
            [sys.executable, __file__, address, str(told)],
            stdin=subprocess.PIPE,
            pass_fds=[told],
        )
        os.close(told)
        with open(ready, "rb") as file:
            if file.read(1) != b".":
                raise RuntimeError("the process that forks did not start")

        def end():
            process.stdin.close()
            process.wait()

        atexit.register(end)
        _address = address
    return _address


def _serve(address, told):
    """Forks until the process that began it ends."""
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
    for module in MODULES:
        __import__(module)
    gc.collect()
    gc.freeze()  # No program need look through it.
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    os.write(told, b".")
    os.close(told)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if not os.fork():
            try:
                listener.close()
                _watch(connection)
            finally:
                os._exit(0)
        connection.close()
        _reap()
    os.unlink(address)
    os.rmdir(os.path.dirname(address))
    _reap()


def _reap():
    """Takes note of forks that have ended, and so of their time."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watch(connection):
    """Runs a program in another fork, and says how it ended."""
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
    with connection.makefile() as file:
        request = json.loads(file.readline())
    pid = os.fork()
    if not pid:
        connection.close()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os._exit(_program(**request))
    connection.sendall(struct.pack("=i", pid))
    _, status = os.waitpid(pid, 0)
    connection.sendall(struct.pack("=i", os.waitstatus_to_exitcode(status)))


def _program(arguments, env, cwd):
    """What an interpreter does with its arguments; returns the exit status."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    first, *rest = arguments
    # What starts itself again starts this program.
    sys.orig_argv = [sys.executable, *arguments]
    paths = env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path not in sys.path]
    status = 0
    try:
        if first == "-m":
            sys.argv = rest
            sys.path.insert(0, cwd)
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif first == "-c":
            sys.argv = ["-c", *rest[1:]]
            sys.path.insert(0, "")
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), vars(main))
        else:
            sys.argv = arguments
            sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
            runpy.run_path(first, run_name="__main__")
    except SystemExit as stop:
        status = stop.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # Waits for threads that are no daemons.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status or 0


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
