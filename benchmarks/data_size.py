"""Time and memory of a corpus' data by its number of utterances.

A corpus of links to real recordings is made: every copy of the recordings has
speakers of its own, as a larger corpus has more. Each size is measured in a
process of its own. Times are of the processor, of all threads, which other work
on the machine changes least; files were read before, so disks take no part.
Memory is the highest above that before, of the whole process for manifests, and
for features of what no file stands behind (`Anonymous` of
/proc/self/smaps_rollup, every 50 ms), as the system can have the pages of
mapped files back at any time.

Links share the features of their recording, as a store knows an utterance by
its content: computing them is measured once and given by the hour of audio. The
features of the epoch are therefore not those: they are as many clips of random
numbers, 200 x 40, written to a store and read back from it, of which an epoch
of shuffled batches of 32 is gathered with random crops of 150 frames.

    python benchmarks/data_size.py --data-dir ../shared/corpora/emodb
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

from ser_keras.corpora.built_in import built_in_corpus  # noqa: E402
from ser_keras.corpora.manifest import Manifest  # noqa: E402
from ser_keras.corpora.manifest import Utterance  # noqa: E402
from ser_keras.corpora.parsers import load_corpus  # noqa: E402
from ser_keras.protocols.audit import audit_corpus  # noqa: E402
from ser_keras.protocols.protocol import folds_hash  # noqa: E402
from ser_keras.protocols.splits import leave_one_speaker_out  # noqa: E402
from ser_keras.protocols.splits import speaker_groups  # noqa: E402

FRAMES, WIDTH, CROP, BATCH = 200, 40, 150, 32
SHARD = 512  # Clips, as of `Preprocessor.compute`.
LARGE, HOURS = 150_000, 250  # MSP-Podcast's training size.
DATA = pathlib.Path(__file__).resolve().parents[2] / "shared/corpora/emodb"


def memory(kind):
    """MB of this process: `VmHWM`, `VmRSS` or `Anonymous`."""
    file = "smaps_rollup" if kind == "Anonymous" else "status"
    text = pathlib.Path(f"/proc/self/{file}").read_text()
    return int(re.search(rf"^{kind}:\s+(\d+)", text, re.M)[1]) / 1024


class Measured:
    """Processor seconds and highest memory above that before, of a block."""

    def __init__(self, anonymous=False):
        self.anonymous = anonymous

    def __enter__(self):
        self._done = threading.Event()
        self._highest = 0.0
        if self.anonymous:
            self._before = memory("Anonymous")
            self._thread = threading.Thread(target=self._watch)
            self._thread.start()
        else:
            # The highest is counted from here.
            pathlib.Path("/proc/self/clear_refs").write_text("5")
            self._before = memory("VmRSS")
        self._start = time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds = time.process_time() - self._start
        self._done.set()
        if self.anonymous:
            self._thread.join()
        else:
            self._highest = memory("VmHWM")
        self.megabytes = max(0.0, self._highest - self._before)

    def _watch(self):
        while True:
            self._highest = max(self._highest, memory("Anonymous"))
            if self._done.wait(0.05):
                return


def linked(recordings, rows, folder):
    """Manifest of links to recordings, each in a folder of its copy."""
    utterances = []
    for row in range(rows):
        copy, number = divmod(row, len(recordings))
        source = recordings[number]
        name = f"copy{copy:05d}/{pathlib.Path(source.path).name}"
        utterances.append(
            Utterance(
                f"copy{copy:05d}/{source.id}",
                f"{folder}/{name}",
                source.label,
                f"{source.speaker}#{copy:05d}",
                sex=source.sex,
                text=source.text,
                corpus=source.corpus,
            )
        )
    return Manifest(utterances, recordings.labels)


def link(manifest, recordings):
    """Makes the links of `linked`."""
    for row, utterance in enumerate(manifest):
        path = pathlib.Path(utterance.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        source = recordings[row % len(recordings)].path
        path.symlink_to(pathlib.Path(source).absolute())


def measure_manifest(recordings, rows, folder):
    """Seconds and MB of everything that needs no audio."""
    manifest = linked(recordings, rows, folder)
    file, found = folder / "manifest.jsonl", {}

    def step(name, function):
        with Measured() as measured:
            result = function()
        found[name] = measured.seconds, measured.megabytes
        return result

    step("save", lambda: manifest.save(file))
    del manifest
    manifest = step("load", lambda: Manifest.load(file))
    step(
        "labels, speakers, counts, a selection",
        lambda: (
            manifest.label_ids,
            manifest.speakers,
            manifest.counts(),
            manifest.select(labels=manifest.labels[:4]),
        ),
    )
    groups = step("five speaker groups", lambda: speaker_groups(manifest, 5))
    step("their hash", lambda: folds_hash(groups))
    groups.clear()
    # As many folds whatever the size: the copies' speakers are the same ones.
    few = Manifest(
        [
            Utterance(u.id, u.path, u.label, u.speaker.partition("#")[0])
            for u in manifest
        ],
        manifest.labels,
    )
    step(
        f"leave-one-speaker-out, {len(few.speakers)} speakers",
        lambda: leave_one_speaker_out(few),
    )
    return manifest, found


def measure_audit(manifest, recordings):
    """Seconds and MB of an audit that decodes everything, and of the next."""
    link(manifest, recordings)
    folder = pathlib.Path(manifest[0].path).parent.parent
    found = {}
    for name, cache in (
        ("audit, all audio decoded", "off"),
        ("audit into an empty cache", folder / "cache"),
        ("audit again", folder / "cache"),
    ):
        os.environ["SER_KERAS_CACHE"] = str(cache)
        with Measured() as measured:
            hours = audit_corpus(manifest).hours
        if cache == "off" or name == "audit again":
            found[name] = measured.seconds, measured.megabytes
    return hours, found


def measure_features(manifest, folder):
    """Seconds and anonymous MB of features, by step, and hours computed."""
    import numpy as np

    from ser_keras.audio import MFCC
    from ser_keras.audio.io import inspect_audio
    from ser_keras.features.dataset import make_dataset
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.features.preprocessor import Preprocessor
    from ser_keras.features.store import FeatureStore

    found = {}

    def step(name, function):
        with Measured(anonymous=True) as measured:
            result = function()
        found[name] = measured.seconds, measured.megabytes
        return result

    preprocessor, cache = Preprocessor(MFCC()), folder / "features"
    preprocessor.compute(manifest[:8])  # What only a first call costs.
    different = {u.id.partition("/")[2]: u for u in manifest}
    different = Manifest(list(different.values()), manifest.labels)
    hours = sum(inspect_audio(u.path).duration for u in different) / 3600
    step("compute", lambda: preprocessor.compute(different, cache))
    step(
        "features of all links found",
        lambda: preprocessor.compute(manifest, cache),
    )

    store = FeatureStore(folder / "generated")
    rng = np.random.default_rng(0)
    keys = [f"clip{row:08d}" for row in range(len(manifest))]
    for first in range(0, len(keys), SHARD):
        part = keys[first : first + SHARD]
        clips = rng.random((len(part), FRAMES, WIDTH), np.float32)
        store.write(dict(zip(part, clips, strict=True)))
    del clips

    def read():
        stored = store.read(keys)
        return FeatureSet(manifest, [stored[key] for key in keys])

    features = step("store of as many clips opened", read)

    def make():
        dataset = make_dataset(
            features, BATCH, duration_frames=CROP, shuffle=True
        )
        return dataset.steps_per_epoch, iter(dataset)

    steps, batches = step("dataset made", make)

    def epoch():
        for _ in range(steps):
            next(batches)

    step("first epoch", epoch)
    step("second epoch", epoch)
    return hours, found


def measure(rows, data_dir, manifest_only):
    """All of a size, as JSON types."""
    recordings = load_corpus("emodb", data_dir)
    # Sentence by sentence, so that few rows have many speakers, too.
    by_sentence = sorted(recordings, key=lambda u: (u.text or "", u.id))
    recordings = Manifest(by_sentence, recordings.labels)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        manifest, found = measure_manifest(recordings, rows, folder)
        result = {"manifest": found}
        if not manifest_only:
            os.environ["SER_KERAS_CACHE"] = str(folder / "cache")
            result["hours"], audit = measure_audit(manifest, recordings)
            result["manifest"] |= audit
            found = measure_features(manifest, folder)
            result["computed_hours"], result["features"] = found
    return result


def measure_apart(rows, data_dir, manifest_only):
    """The same in a process of its own."""
    program = [sys.executable, __file__, "--data-dir", str(data_dir)]
    kind = "--manifest-rows" if manifest_only else "--rows"
    program += ["--only", kind, str(rows)]
    done = subprocess.run(
        program, check=True, stdout=subprocess.PIPE, text=True
    )
    print(f"{number(rows)} rows are measured", file=sys.stderr, flush=True)
    return json.loads(done.stdout.splitlines()[-1])


def number(rows):
    """Digits in groups of three."""
    return f"{rows:,}".replace(",", " ")


def table(sizes):
    """Measurements of all sizes, and of a large one extrapolated."""
    found = []

    def add(size, name, seconds=None, megabytes=None):
        for what, value, unit in (
            ("time", seconds, "s"),
            ("memory", megabytes, "MB"),
        ):
            if value is not None:
                found.append(measurement(f"{name}: {what}", size, value, unit))
                print(f"{size}: {name}: {what} {value:.3g} {unit}", flush=True)

    for rows, result in sizes.items():
        size = f"{number(rows)} rows"
        for name, cost in result["manifest"].items():
            add(size, name, *cost)
        if "features" in result:
            steps = result["features"]
            seconds, megabytes = steps.pop("compute")
            hourly = seconds / result["computed_hours"]
            add(size, "MFCC of an hour of audio", hourly, megabytes)
            for name, cost in steps.items():
                add(size, name, *cost)
            result["hourly"] = hourly
    largest = max((n for n, x in sizes.items() if "features" in x), default=0)
    if largest:
        size = (
            f"{HOURS} h, {number(LARGE)} clips, extrapolated from "
            f"{number(largest)} rows"
        )
        result, scale = sizes[largest], LARGE / largest
        costs = result["manifest"] | result["features"]
        # It decodes and computes audio: by hours, as clips differ in length.
        decoded, megabytes = costs.pop("audit, all audio decoded")
        hours = HOURS / result["hours"]
        add(size, "audit, all audio decoded", decoded * hours, megabytes)
        add(size, "MFCC of all audio", result["hourly"] * HOURS)
        for name, (seconds, megabytes) in costs.items():
            add(size, name, seconds * scale, megabytes * scale)
    return found


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[])
    parser.add_argument(
        "--manifest-rows",
        type=int,
        nargs="*",
        default=[],
        help="further sizes, of which only the manifest is measured",
    )
    parser.add_argument(
        "--data-dir",
        type=pathlib.Path,
        help=f"EMO-DB; {DATA} where it is there, or else the built-in corpus",
    )
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    add_record_argument(parser)
    options = parser.parse_args()
    data_dir = options.data_dir
    if data_dir is None:
        data_dir = DATA if DATA.is_dir() else built_in_corpus()
    if not pathlib.Path("/proc/self/smaps_rollup").exists():
        parser.error("memory is read from /proc/self, which only Linux has")
    if options.only:
        kinds = ((options.rows, False), (options.manifest_rows, True))
        ((rows, only),) = [(x[0], manifest) for x, manifest in kinds if x]
        print(json.dumps(measure(rows, data_dir, only)))
        return
    if not options.rows and not options.manifest_rows:
        options.rows = [1000, 10_000, 100_000]
        options.manifest_rows = [1_000_000]
    sizes = {n: measure_apart(n, data_dir, False) for n in options.rows}
    for rows in options.manifest_rows:
        sizes[rows] = measure_apart(rows, data_dir, True)
    record(options, table(sizes))


if __name__ == "__main__":
    main()
