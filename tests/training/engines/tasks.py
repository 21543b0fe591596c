"""What workers of the tests of engines do."""

import os
import pathlib
import signal
import time


def square(x):
    return x * x


def write(folder, text="done"):
    """Counts how often it was begun, and writes its final file."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "begun", "a") as file:
        file.write(f"{os.getpid()}\n")
    print("hello from", folder.name)
    (folder / "final").write_text(text)


def die_at_first(folder):
    """Is killed the first time, and finishes the second."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = not (folder / "begun").exists()
    with open(folder / "begun", "a") as file:
        file.write(f"{os.getpid()}\n")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / "final").write_text("done")


def die(folder):
    os.kill(os.getpid(), signal.SIGKILL)


def wait_at_first(folder, seconds=120):
    """Waits to be killed the first time, and finishes the second."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = not (folder / "begun").exists()
    with open(folder / "begun", "a") as file:
        file.write(f"{os.getpid()}\n")
    if first:
        time.sleep(seconds)
    (folder / "final").write_text("done")


def write_gpus(folder):
    """Writes which GPUs its process may use."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "as it is")
    write(folder, f"{os.getpid()} {gpus}")
    time.sleep(1)  # Another process does the next.
