"""Faults: what is lost, corrupted or wrongly answered when things go wrong.

Each part makes one kind of fault many times, at random places, and counts what
came of it:

    audio     mutated audio files: an error, or the samples that a reference
              decoder gives; never a crash
    requests  mutated REST requests: a JSON error, or the answer of the model
              for what a reference decoder makes of the audio
    kill      kill -9 of a search, a training, a fan-out, a computation of
              features, an export and a server: nothing is lost, and what is
              resumed has the results of an undisturbed run, bit by bit
    disk      a disk that is full at each write: one message, and the run goes
              on when there is room
    hostile   files whose content would run a program, leave a folder or write
              HTML
    soak      many clients while the model is replaced each minute: failed
              requests, and the server's memory

    python benchmarks/faults.py audio requests kill disk hostile soak

A part prints every fault whose outcome is wrong, with the seed that makes it
again; the process then ends with status 1. `disk` mounts a small tmpfs and
needs to be root.
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import filecmp
import io
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

CLI = [sys.executable, "-m", "ser_keras"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
RATE = 16000


class Count:
    """Outcomes of one kind of fault, and those that must not be."""

    def __init__(self, name):
        self.name = name
        self.outcomes = collections.Counter()
        self.wrong = []

    def add(self, outcome, wrong=False, detail=""):
        """Counts an outcome; prints one that must not be."""
        self.outcomes[outcome] += 1
        if wrong:
            self.wrong.append((outcome, detail))
            print(f"WRONG  {self.name}: {outcome}  {detail}", flush=True)

    def rows(self):
        """Measurements for a record; prints them."""
        total = sum(self.outcomes.values())
        print(f"{self.name}: {total} faults, {len(self.wrong)} wrong outcomes")
        for outcome, number in self.outcomes.most_common():
            print(f"  {number:7d}  {outcome}")
        return [
            measurement(self.name, "faults", total, ""),
            measurement(self.name, "wrong outcomes", len(self.wrong), ""),
            *(
                measurement(self.name, outcome, number, "")
                for outcome, number in self.outcomes.most_common()
            ),
        ]


# mutated audio.
def sources():
    """Bytes of one recording in the formats that people have."""
    clips = sorted((ROOT / "ser_keras").rglob("*.ogg"))
    waveform, rate = soundfile.read(clips[0], dtype="float32")
    stereo = np.stack([waveform, waveform[::-1]], 1)
    kinds = {
        "wav": (waveform, "WAV", "PCM_16"),
        "wav24": (stereo, "WAV", "PCM_24"),
        "wavfloat": (waveform, "WAV", "FLOAT"),
        "flac": (waveform, "FLAC", "PCM_16"),
        "ogg": (waveform, "OGG", "VORBIS"),
        "mp3": (waveform, "MP3", "MPEG_LAYER_III"),
        "gsm": (waveform, "WAV", "GSM610"),
        "adpcm": (waveform, "WAV", "IMA_ADPCM"),
        "aiff": (waveform, "AIFF", "PCM_16"),
        "au": (waveform, "AU", "PCM_16"),
        "rf64": (waveform, "RF64", "PCM_16"),
    }
    found = {}
    for name, (samples, container, subtype) in kinds.items():
        file = io.BytesIO()
        soundfile.write(file, samples, rate, subtype, format=container)
        found[name] = file.getvalue()
    return found


def one_second():
    """Bytes of a WAV file of one second."""
    samples, rate = soundfile.read(io.BytesIO(sources()["wav"]))
    assert rate == RATE
    file = io.BytesIO()
    soundfile.write(file, samples[:RATE], RATE, format="WAV")
    return file.getvalue()


def mutated(data, rng):
    """Bytes with a few random changes, mostly near the start."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        size = len(data)
        if not size:
            break
        # Headers are where a change matters most.
        near = min(size, 128)
        at = rng.randrange(near if rng.random() < 0.6 else size)
        kind = rng.randrange(7)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[rng.randrange(size) :]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice([1, 2, 4, 100]))
        elif kind == 4:
            del data[at : at + rng.choice([1, 2, 4, 100])]
        elif kind == 5:
            value = rng.choice(
                [0, 1, 2**31 - 1, 2**32 - 1, rng.getrandbits(32)]
            )
            data[at : at + 4] = value.to_bytes(4, "little")
        else:
            data[at : at + 512] = bytes(len(data[at : at + 512]))
    return bytes(data)


def reference(data, rate=None):
    """Mono samples by another reader: libsndfile's, else SciPy's of WAV.

    Resampled to `rate`, if that is given. None if both refuse the file.
    """
    import warnings

    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(Exception):
            samples, own = soundfile.read(
                io.BytesIO(data), dtype="float32", always_2d=True
            )
            samples = samples.mean(axis=1)
            if not len(samples) and rate and data[:4] == b"RIFF":
                # A length of 0, as of a pipe: the samples of 16 bits behind.
                rest = data[data.index(b"data") + 8 :]
                samples = np.frombuffer(rest[: len(rest) // 2 * 2], "<i2")
                samples = np.float32(samples) / 32768
            return resampled(samples, own, rate)
        with contextlib.suppress(Exception):
            own, samples = wavfile.read(io.BytesIO(data))
            samples = samples.reshape(len(samples), -1)
            if samples.dtype.kind == "i":
                bits = 8 * samples.dtype.itemsize
                samples = samples / 2.0 ** (bits - 1)
            elif samples.dtype == np.uint8:
                samples = (samples - 128.0) / 128
            samples = samples.astype("float32").mean(axis=1)
            return resampled(samples, own, rate)
    return None


def resampled(samples, own, rate):
    """Samples at another rate; a damaged header may say any."""
    import soxr

    return samples if rate in (None, own) else soxr.resample(samples, own, rate)


def read_mutated(name, data, seed, folder):
    """Outcome of reading one mutated file: `(outcome, wrong)`."""
    from ser_keras.audio.io import AudioError
    from ser_keras.audio.io import decode_audio

    path = pathlib.Path(folder) / f"{seed}.{name}"
    path.write_bytes(data)
    try:
        # All channels at their own rate, as all that reads audio does first.
        samples, _ = decode_audio(path)
        ours = samples.mean(axis=1)
    except AudioError as error:
        return "refused", str(path) not in str(error)
    except Exception as error:
        return f"{type(error).__name__}, which is no AudioError", True
    finally:
        path.unlink()
    theirs = reference(data)
    if theirs is None:
        # Read although the reference refuses: at least it must be audio.
        return "read, which the reference refuses", not len(ours)
    size = min(len(ours), len(theirs))
    # A file that ends too early may be read up to there by one of the two.
    same = np.allclose(
        ours[:size], theirs[:size], rtol=1e-4, atol=1e-4, equal_nan=True
    )
    if not same:
        return "read as other samples than the reference", True
    if len(ours) != len(theirs):
        return "read to another end than the reference", False
    return "read as the reference", False


def _read_some(arguments):
    seeds, folder = arguments
    originals = sources()
    names = sorted(originals)
    found = []
    for seed in seeds:
        rng = random.Random(seed)
        name = names[seed % len(names)]
        data = mutated(originals[name], rng)
        found.append((seed, name, *read_mutated(name, data, seed, folder)))
    return found


def audio(arguments):
    """Mutated audio files, in processes whose death is noticed."""
    count = Count("mutated audio files")
    with tempfile.TemporaryDirectory() as folder:
        parts = np.array_split(
            np.arange(arguments.files), arguments.files // 50
        )
        context = multiprocessing.get_context("spawn")
        import concurrent.futures

        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            tasks = [
                (seeds, pool.submit(_read_some, (seeds.tolist(), folder)))
                for seeds in parts
            ]
            for seeds, task in tasks:
                try:
                    results = task.result(timeout=300)
                except Exception as error:
                    count.add(
                        "the process died or hung",
                        True,
                        f"seeds {seeds[0]} to {seeds[-1]}: {error!r}",
                    )
                    continue
                for seed, name, outcome, wrong in results:
                    count.add(outcome, wrong, f"{name}, seed {seed}")
    return count.rows()


# a model to serve.
def export_model(folder, shift=0.0):
    """Writes a small Light-SERNet with random weights as a SavedModel.

    Args:
        folder: Of its versions.
        shift: Added to a bias, so that versions have other answers.
    """
    import keras

    import ser_keras

    keras.utils.set_random_seed(0)
    network = ser_keras.LightSERNet((None, 40, 1), num_classes=4, width=0.25)
    kernel, bias = network.classifier.get_weights()
    network.classifier.set_weights([kernel, bias + [shift, 0, 0, 0]])
    return ser_keras.export_saved_model(
        network,
        folder,
        ["anger", "happiness", "neutral", "sadness"],
        ser_keras.Preprocessor(ser_keras.MFCC.light_sernet()),
    )


@contextlib.contextmanager
def server(folder, poll=0.5):
    """A server process: `(port, process)`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start_server(folder, port, poll)
    try:
        yield port, process
    finally:
        process.kill()
        process.wait()


def start_server(folder, port, poll=0.5):
    """Starts `ser_keras serve` and waits until it answers."""
    import httpx

    process = subprocess.Popen(
        [
            *CLI,
            "serve",
            str(folder),
            f"--port={port}",
            f"--poll-seconds={poll}",
        ],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("the server has ended")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                return process
        time.sleep(0.2)
    raise RuntimeError("the server does not answer")


def body_of(data, signature="serving_bytes"):
    """Body of a request with the bytes of an audio file."""
    audio = {"b64": base64.b64encode(data).decode()}
    return json.dumps({"signature_name": signature, "instances": [audio]})


# mutated requests.
def requests(arguments):
    """Mutated REST requests, to a server that must survive them all."""
    import httpx
    import tensorflow as tf

    count = Count("mutated REST requests")
    wav = one_second()
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "small"
        version = export_model(model)
        served = tf.saved_model.load(str(version))
        floats = served.signatures["serving_default"]
        expected = {}

        def by_reference(samples):
            key = samples.tobytes()
            if key not in expected:
                row = tf.constant(samples[None], tf.float32)
                output = floats(row)["probabilities"].numpy()[0]
                expected[key] = output
            return expected[key]

        with server(model) as (port, process):
            url = f"http://127.0.0.1:{port}/v1/models/small:predict"
            http = httpx.Client(timeout=60)
            for seed in range(arguments.requests):
                rng = random.Random(seed)
                data, inner = wav, seed % 2
                if inner:  # The audio, or the text around it.
                    data = mutated(wav, rng)
                content = body_of(data).encode()
                if not inner:
                    content = mutated(content, rng)
                try:
                    answer = http.post(url, content=content)
                except httpx.HTTPError as error:
                    dead = process.poll() is not None
                    count.add(
                        "no answer" + (", the server died" if dead else ""),
                        True,
                        f"seed {seed}: {error!r}",
                    )
                    if dead:
                        break
                    continue
                outcome, wrong = judge(answer, content, by_reference)
                count.add(outcome, wrong, f"seed {seed}")
            # It still answers, and rightly.
            answer = http.post(url, content=body_of(wav))
            outcome, wrong = judge(answer, body_of(wav).encode(), by_reference)
            count.add(f"after all: {outcome}", wrong or answer.is_error)
    return count.rows()


def judge(answer, content, by_reference):
    """Outcome of an answer, and whether it is wrong."""
    try:
        body = answer.json()
    except ValueError:
        return f"status {answer.status_code} without JSON", True
    if answer.status_code >= 500:
        return f"status {answer.status_code}", True
    if answer.is_error:
        return (
            f"status {answer.status_code} with a message",
            "error" not in body,
        )
    try:
        request = json.loads(content)
        instance = request["instances"][0]
        if not isinstance(instance, dict) or len(request["instances"]) != 1:
            return "answered, another input", False
        text = instance.get("b64") or next(iter(instance.values()))["b64"]
        # The alphabet of URLs, without its padding, is read as well.
        text = "".join(text.split()).translate(str.maketrans("-_", "+/"))
        text = text.rstrip("=")
        data = base64.b64decode(text + "=" * (-len(text) % 4))
        samples = reference(data, RATE)
    except Exception:
        return "answered, which the reference cannot read", True
    row = body["predictions"][0]
    if not isinstance(row, dict) or row.get("error"):
        return "answered with the clip's error", False
    if samples is None:
        return "answered, which the reference refuses", True
    expected = by_reference(np.float32(samples))
    close = np.allclose(row["probabilities"], expected, atol=1e-3)
    return "answered as the reference" if close else "ANOTHER ANSWER", not close


# killed processes.
TINY = {
    "corpus": "iemocap",
    "num_features": 8,
    "duration": 1.0,
    "batch_size": 8,
    "held_out_speakers": 1,
}


def commands(babble, folder, saved):
    """Name -> command line in `folder`, and the files that must be equal."""
    tiny = [f"--data-dir={babble}", "--corpus=iemocap", "--deterministic"]
    sernet = [
        *("train", "light_sernet", *tiny, "--width=0.25", "--duration=1"),
        *("--epochs=12", "--batch-size=8", "--no-litert", "--no-final"),
    ]
    search = [
        *("search", "emodarts", *tiny, "--sequence=rnn", "--search-epochs=8"),
        *("--search-filters=1", "--num-nodes=1", "--num-cells=3"),
        *("--recurrent-filters=2", "--num-features=8", "--duration=0.5"),
        *("--search-batch-size=4", "--output-dir=run"),
    ]
    features = (
        "from ser_keras import MFCC, Preprocessor, load_corpus;"
        f"c = load_corpus('iemocap', {str(babble)!r});"
        "f = Preprocessor(MFCC()).compute(c, 'cache');"
        "import numpy as np;"
        "np.save('features.npy', np.concatenate(f.arrays))"
    )
    return {
        "search": ([*CLI, *search], ["run/genotype.json"]),
        "training": (
            [*CLI, *sernet, "--fold=1", "--output-dir=run"],
            ["run/predictions.csv"],
        ),
        "fan-out": (
            [*CLI, *sernet, "--fold=0", "--jobs=2", "--output-dir=run"],
            ["run/predictions.csv"],
        ),
        "features": ([sys.executable, "-c", features], ["features.npy"]),
        "export": (
            [
                *(*CLI, "export", str(saved), "--output", "again"),
                *("--format", "litert"),
            ],
            ["again"],
        ),
    }


def kill(arguments):
    """Kill -9 at random moments; each is resumed at once."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        from ser_keras.corpora.synthetic import write_synthetic_corpus

        babble = write_synthetic_corpus(temporary / "babble", 4, 2)
        saved = temporary / "trained"
        train = [
            *(*CLI, "train", "light_sernet", f"--data-dir={babble}"),
            *("--corpus=iemocap", "--smoke", "--no-litert"),
            f"--output-dir={saved}",
        ]
        subprocess.run(
            train,
            env=ENVIRONMENT,
            check=True,
            capture_output=True,
            cwd=temporary,
        )
        jobs = commands(babble, temporary, saved)
        for name, (command, files) in jobs.items():
            rows += kill_job(name, command, files, temporary, arguments.kills)
        rows += kill_server(temporary, arguments.kills)
    return rows


def started(command, folder):
    """A process and all that it starts, in a group of their own."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**ENVIRONMENT, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_group(process):
    """Kill -9 of a process and of all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def kill_job(name, command, files, temporary, kills):
    """Kills a command so often, and compares what it leaves in the end."""
    count = Count(f"killed: {name}")
    undisturbed = temporary / f"{name}-undisturbed"
    undisturbed.mkdir()
    start = time.monotonic()
    process = started(command, undisturbed)
    printed, _ = process.communicate()
    took = time.monotonic() - start
    if process.returncode:
        count.add("the undisturbed command failed", True, printed[-2000:])
        return count.rows()
    rng = random.Random(name)
    killed = 0
    while killed < kills:
        folder = temporary / f"{name}-{killed}"
        folder.mkdir()
        for _ in range(20):  # Until it comes to its end.
            process = started(command, folder)
            # The start of the interpreter writes nothing.
            moment = rng.uniform(0.3 * took, 1.05 * took)
            try:
                printed, _ = process.communicate(timeout=moment)
                break
            except subprocess.TimeoutExpired:
                kill_group(process)
                killed += 1
                if killed >= kills:
                    printed, _ = (
                        last := started(command, folder)
                    ).communicate()
                    process = last
                    break
        if process.returncode:
            count.add("not resumed", True, printed[-2000:])
        elif all(equal(undisturbed / x, folder / x) for x in files):
            count.add("resumed with the same results")
        else:
            count.add("resumed with other results", True, str(files))
        shutil.rmtree(folder)
    count.outcomes["kills"] = killed
    return count.rows()


def equal(first, second):
    """Whether two files, or all files of two folders, have one content."""
    if first.is_dir():
        names = sorted(x.name for x in first.iterdir())
        if names != sorted(x.name for x in second.iterdir()):
            return False
        return all(equal(first / x, second / x) for x in names)
    return second.exists() and filecmp.cmp(first, second, shallow=False)


def kill_server(temporary, kills):
    """Kills a server while a version is written, and starts it again."""
    import httpx

    count = Count("killed: server")
    wav = one_second()
    source = temporary / "versions"
    answers = {}
    for number, shift in enumerate((0.0, 3.0), start=1):
        path = export_model(source / str(number), shift)
        answers[number] = path
    model = temporary / "served"
    shutil.copytree(answers[1], model / "1")
    rng = random.Random("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1/models/served:predict"
    known = []
    for number in range(kills):
        process = start_server(model, port, poll=0.1)
        version = number + 2
        shutil.copytree(answers[1 + version % 2], model / f".{version}")
        os.rename(model / f".{version}", model / str(version))
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        process.wait()
        process = start_server(model, port, poll=0.1)
        answer = httpx.post(url, content=body_of(wav), timeout=60)
        process.kill()
        process.wait()
        if answer.is_error:
            count.add(f"status {answer.status_code}", True, answer.text)
            continue
        row = answer.json()["predictions"][0]["probabilities"]
        known.append((version % 2, row))
        of_version = [x for parity, x in known if parity == version % 2]
        same = np.allclose(row, of_version[0], atol=1e-5)
        count.add(
            "the new version answers" if same else "another version answers",
            not same,
        )
    return count.rows()


# a full disk.
def disk(arguments):
    """A training on a disk that is full after so many bytes."""
    count = Count("full disk")
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        from ser_keras.corpora.synthetic import write_synthetic_corpus

        babble = write_synthetic_corpus(temporary / "babble", 3, 1)
        command = [
            *(*CLI, "train", "light_sernet", f"--data-dir={babble}"),
            *("--corpus=iemocap", "--smoke", "--no-litert", "--no-final"),
            *("--deterministic", "--output-dir=run", "--export-dir=saved"),
            "--cache-dir=cache",
        ]
        roomy = temporary / "roomy"
        roomy.mkdir()
        started(command, roomy).communicate()
        wanted = roomy / "run/predictions.csv"
        used = sum(x.stat().st_size for x in roomy.rglob("*") if x.is_file())
        full = temporary / "full"
        full.mkdir()
        rng = random.Random(0)
        for _ in range(arguments.disks):
            size = max(4096 * rng.randrange(1, used // 4096 + 2), 8192)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
            subprocess.run([*mount, str(full)], check=True)
            try:
                process = started(command, full)
                printed, _ = process.communicate()
                if process.returncode == 0:
                    count.add("there was room")
                    continue
                lines = printed.strip().splitlines() or [""]
                clear = "No space left" in lines[-1] or "ull" in lines[-1]
                count.add(
                    "one message"
                    if clear
                    else "a message that does not say it",
                    not clear,
                    lines[-1][:300],
                )
                subprocess.run(
                    ["mount", "-o", "remount,size=512m", str(full)], check=True
                )
                process = started(command, full)
                printed, _ = process.communicate()
                if process.returncode:
                    count.add("not resumed", True, printed[-1500:])
                elif equal(wanted, full / "run/predictions.csv"):
                    count.add("resumed with the same results")
                else:
                    count.add("resumed with other results", True)
            finally:
                subprocess.run(["umount", str(full)], check=True)
    return count.rows()


# hostile contents.
def hostile(arguments):
    """Files that would run a program, leave a folder or write HTML."""
    import keras

    import ser_keras
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.manifest import Utterance

    count = Count("hostile contents")
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        mark = temporary / "executed"
        program = f"__import__('pathlib').Path({str(mark)!r}).touch()"

        def refused(name, call):
            try:
                call()
                outcome = "read"
            except Exception as error:
                outcome = f"refused by {type(error).__name__}"
            ran = mark.exists()
            mark.unlink(missing_ok=True)
            count.add(f"{name}: {outcome}", ran or outcome == "read")

        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Lambda(eval(f"lambda x: ({program}, x)[1]")),
            ]
        )
        mark.unlink(missing_ok=True)
        model.save(temporary / "lambda.keras")
        mark.unlink(missing_ok=True)
        refused(
            "a .keras file with a function",
            lambda: ser_keras.load_model(temporary / "lambda.keras"),
        )
        genotype = temporary / "genotype.json"
        genotype.write_text(json.dumps({"version": 1, "cnn": program}))
        refused("a genotype", lambda: ser_keras.Genotype.load(genotype))
        config = temporary / "config.yaml"
        config.write_text(f'epochs: !!python/object/apply:eval ["{program}"]\n')
        refused(
            "a configuration in YAML",
            lambda: subprocess.run(
                [*CLI, "train", "light_sernet", f"--config={config}"],
                env=ENVIRONMENT,
                check=True,
                capture_output=True,
                cwd=temporary,
            ),
        )
        preset = temporary / "preset"
        preset.mkdir()
        (preset / "config.json").write_text(
            json.dumps({"class_name": "Lambda", "module": "keras.layers"})
        )
        refused(
            "a preset", lambda: ser_keras.LightSERNet.from_preset(str(preset))
        )
        script = "<script>alert(1)</script>"
        rng = np.random.default_rng(0)
        for number in range(8):
            noise = rng.normal(0, 0.1, RATE // 4)
            soundfile.write(temporary / f"{number}.wav", noise, RATE)
        manifest = Manifest(
            [
                Utterance(
                    f"{s}{i}",
                    str(temporary / f"{4 * n + i}.wav"),
                    (script, "b")[i % 2],
                    s,
                )
                for n, s in enumerate(("../../up", script))
                for i in range(4)
            ],
            (script, "b"),
        )
        for html in report_of(manifest, temporary):
            count.add(
                "a report with names in HTML",
                script in html,
                "a name is not escaped",
            )
        outside = [
            x
            for x in temporary.parent.glob("up*")
            if x.stat().st_mtime > time.time() - 60
        ]
        count.add("a speaker named ../../up", bool(outside), str(outside))
    return count.rows()


def report_of(manifest, folder):
    """HTML reports of a run whose speakers and labels have bad names."""
    from ser_keras.evaluation.baselines import cross_validate_classifier
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.protocols.splits import leave_one_speaker_out
    from ser_keras.reports.report import write_report
    from ser_keras.training.run_folder import RunFolder

    rng = np.random.default_rng(0)
    features = FeatureSet(
        manifest, [rng.normal(size=(1, 3)).astype("float32") for _ in manifest]
    )
    run = RunFolder(folder / "run", {"seed": 0})
    outcome = cross_validate_classifier(
        "majority", features, leave_one_speaker_out(manifest), run=run
    )
    write_report(run, outcome)
    subprocess.run(
        [*CLI, "report", str(run.path), "--no-audio", "--output", "r.html"],
        env=ENVIRONMENT,
        cwd=folder,
        capture_output=True,
    )
    for file in folder.rglob("*.html"):
        yield file.read_text()


# soak.
def soak(arguments):
    """Many clients for a long time, the model replaced each minute."""
    count = Count("soak")
    with tempfile.TemporaryDirectory() as temporary:
        temporary = pathlib.Path(temporary)
        versions = [
            export_model(temporary / "versions" / str(number), shift)
            for number, shift in enumerate((0.0, 3.0))
        ]
        model = temporary / "served"
        shutil.copytree(versions[0], model / "1")
        wav = one_second()
        with server(model) as (port, process):
            memory = []
            asyncio.run(
                _soak(
                    port,
                    process,
                    model,
                    versions,
                    wav,
                    arguments,
                    count,
                    memory,
                )
            )
    settled = memory[len(memory) // 4]
    growth = memory[-1] / settled - 1
    count.add(
        "memory at the end",
        growth > 0.05,
        f"{growth:+.1%} since a quarter of the time",
    )
    return [
        *count.rows(),
        measurement("soak", "minutes", arguments.minutes, "min"),
        measurement("soak", "clients", arguments.clients, ""),
        measurement("soak", "memory after a quarter", settled / 2**20, "MiB"),
        measurement("soak", "memory at the end", memory[-1] / 2**20, "MiB"),
    ]


async def _soak(port, process, model, versions, wav, arguments, count, memory):
    import httpx

    url = f"http://127.0.0.1:{port}/v1/models/served:predict"
    end = time.monotonic() + 60 * arguments.minutes
    content = body_of(wav)
    limits = httpx.Limits(max_connections=None)

    async def client(http):
        while time.monotonic() < end:
            try:
                answer = await http.post(url, content=content)
                fine = answer.is_success
                detail = "" if fine else f"{answer.status_code} {answer.text}"
            except httpx.HTTPError as error:
                fine, detail = False, repr(error)
            count.add("answered" if fine else "failed", not fine, detail)
            await asyncio.sleep(arguments.pause)

    async def replace():
        number = 1
        while time.monotonic() < end:
            await asyncio.sleep(min(60, max(end - time.monotonic(), 0)))
            number += 1
            shutil.copytree(versions[number % 2], model / f".{number}")
            os.rename(model / f".{number}", model / str(number))
            shutil.rmtree(model / str(number - 1), ignore_errors=True)
            memory.append(resident(process.pid))
            count.outcomes["versions replaced"] += 1

    async def half_closed():
        """Connections that send half a request, or read nothing."""
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"POST /v1/models/served:predict HTTP/1.1\r\n")
                writer.write(b"Content-Length: 100000\r\n\r\n{")
                await writer.drain()
                if random.random() < 0.5:
                    writer.write_eof()
                await asyncio.sleep(5)
                writer.close()
            count.outcomes["slow and half-closed connections"] += 1

    async with httpx.AsyncClient(timeout=120, limits=limits) as http:
        clients = [client(http) for _ in range(arguments.clients)]
        await asyncio.gather(*clients, replace(), half_closed())


def resident(pid):
    """Resident memory of a process, bytes."""
    fields = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


PARTS = {
    part.__name__: part for part in (audio, requests, kill, disk, hostile, soak)
}


def main():
    """Runs the parts; the status is 1 if an outcome was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument(
        "--pause", type=float, default=2.0, help="of a client, seconds"
    )
    add_record_argument(parser)
    arguments = parser.parse_args()
    rows = []
    for part in arguments.parts:
        rows += PARTS[part](arguments)
    record(arguments, rows)
    wrong = sum(x["value"] for x in rows if x["quantity"] == "wrong outcomes")
    sys.exit(int(wrong > 0))


if __name__ == "__main__":
    main()
