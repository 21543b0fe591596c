"""Extracts features, and is killed when two shards are there.

python killed_extraction.py MANIFEST CACHE: see test_extraction.
"""

import os
import pathlib
import signal
import sys
import time

from test_extraction import Peaks

from ser_keras.corpora.manifest import Manifest
from ser_keras.features import extraction


class Killed(Peaks):
    """Kills this process at its eighth clip; the check's is not counted."""

    def extract(self, waveform):
        if len(self.clips) == 8:
            for _ in range(600):
                if len(list(self.cache.glob("*/*.npz"))) == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(0.1)
        return super().extract(waveform)


def main(manifest, cache):
    """As a program."""
    extraction._UTTERANCES = 3
    extractor = Killed()
    extractor.cache = pathlib.Path(cache)
    extraction.extract_features(
        Manifest.load(manifest), extractor, cache, jobs=1
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
