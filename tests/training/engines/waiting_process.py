"""Waits in another process, whose number it writes: see test_processes."""

import os
import pathlib
import sys
import time

from ser_keras.training.engines.fan_out import run_tasks


def wait(file):
    pathlib.Path(file).write_text(str(os.getpid()))
    time.sleep(600)


if __name__ == "__main__":
    log = pathlib.Path(sys.argv[1] + ".log")
    run_tasks(wait, {"waiting": (sys.argv[1],)}, 1, {"waiting": log})
