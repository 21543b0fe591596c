"""Faults: mutated audio files, and mutated requests to the server.

Each file is read as `ser_keras predict` and the server read it. What decodes
must be what libsndfile itself decodes of the file, or of a copy whose header
has the right length; the rest must be an `AudioError`. Each request must get
an answer in JSON, and a good one beside it its usual answer.

    python benchmarks/faults.py --files 10000 --requests 10000
"""

import argparse
import base64
import collections
import contextlib
import io
import json
import pathlib
import struct
import sys
import tempfile
import threading
import time

import numpy as np
import soundfile
from recording import add_record_argument
from recording import measurement
from recording import record

from ser_keras.audio.containers import samples_of
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import decode_audio

FORMATS = (
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "GSM610"),
    ("WAV", "IMA_ADPCM"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("RF64", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
)


def originals(rng):
    """A second of sound in each format, as bytes."""
    noise = np.cumsum(rng.normal(0, 0.01, 16000))
    tone = 0.3 * np.sin(np.arange(16000) / 9)
    sound = (tone + noise - np.linspace(0, noise[-1], 16000)).clip(-0.9, 0.9)
    files = []
    for kind, subtype in FORMATS:
        file = io.BytesIO()
        soundfile.write(file, sound, 16000, subtype, format=kind)
        files.append(file.getvalue())
    return files


def mutated(rng, original):
    """A copy with bytes changed, cut off, inserted or taken out."""
    file = bytearray(original)
    for _ in range(rng.integers(1, 4)):
        where = int(rng.integers(0, rng.choice([80, len(file) + 1])))
        kind = rng.integers(5)
        if kind == 0:
            file[where : where + 1] = rng.bytes(1)
        elif kind == 1:
            length = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16])
            order = rng.choice(["<I", ">I"])
            file[where : where + 4] = struct.pack(order, int(length))
        elif kind == 2:
            del file[where:]
        elif kind == 3:
            file[where:where] = rng.bytes(int(rng.integers(1, 200)))
        else:
            del file[where : where + int(rng.integers(1, 200))]
        if not file:
            break
    return bytes(file)


def reference(content):
    """What libsndfile decodes, with the header's length put right."""
    samples = samples_of(io.BytesIO(content), len(content))
    if samples is not None and not samples.promised and samples.present > 0:
        at = samples.length_at
        length = struct.pack(f"{samples.order}I", samples.present)
        content = content[:at] + length + content[at + 4 :]
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        # Without seeking, which GSM cannot.
        frames = min(file.frames, 1 << 24)
        out = np.empty((frames, file.channels), "float32")
        pointer = soundfile._ffi.cast("float*", out.ctypes.data)
        read = soundfile._snd.sf_readf_float(file._file, pointer, frames)
        return out[:read]


def try_files(rng, count):
    """Numbers of files by what became of them."""
    found, files = collections.Counter(), originals(rng)
    for number in range(count):
        content = mutated(rng, files[number % len(files)])
        try:
            samples, _ = decode_audio(content)
        except AudioError:
            found["errors"] += 1
            continue
        except Exception as error:
            found["crashes"] += 1
            print(f"CRASH {type(error).__name__}: {error}", flush=True)
            continue
        expected = reference(content)
        same = samples.shape == expected.shape and np.array_equal(
            samples, expected, equal_nan=True
        )
        found["equal" if same else "wrong"] += 1
        if not same:
            print(f"WRONG {samples.shape} {expected.shape}", flush=True)
    return found


@contextlib.contextmanager
def server():
    """URL of a server of a tiny model."""
    import keras
    import uvicorn

    import ser_keras as ser
    from ser_keras.serving.server import build_app

    inputs = keras.Input((None, 13, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    network = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tiny"
        front = ser.Preprocessor(
            ser.MFCC(sample_rate=16000, num_coefficients=13)
        )
        ser.export_saved_model(network, path, ("calm", "anger"), front)
        config = uvicorn.Config(build_app(path), port=0, log_level="critical")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.should_exit = True
            thread.join()


def try_requests(rng, count):
    """Numbers of requests by what became of them."""
    import httpx

    wav = originals(rng)[0]
    audio = {"b64": base64.b64encode(wav).decode()}

    def of_file(text):
        body = {"signature_name": "serving_bytes", "inputs": [{"b64": text}]}
        return json.dumps(body).encode()

    wave = [round(float(x), 4) for x in rng.normal(0, 0.1, 400)]
    bodies = [
        json.dumps(body).encode()
        for body in (
            {"signature_name": "serving_bytes", "instances": [audio]},
            {"signature_name": "serving_bytes", "inputs": {"audio": [audio]}},
            {"instances": [wave]},
            {"inputs": {"waveform": [wave]}},
        )
    ]
    found = collections.Counter()
    with server() as url, httpx.Client(base_url=url, timeout=60) as http:
        place, upload = "/v1/models/tiny:predict", "/v1/models/tiny:upload"
        usual = http.post(place, content=bodies[2]).json()
        for number in range(count):
            target = place
            if number % 3 == 0:
                body = mutated(rng, bodies[number % len(bodies)])
            elif number % 3 == 1:
                body, target = mutated(rng, wav), upload
            else:
                audio = base64.b64encode(mutated(rng, wav)).decode()
                body = of_file(audio)
            try:
                answer = http.post(target, content=body)
                answer.json()
            except (httpx.HTTPError, ValueError) as error:
                found["crashes"] += 1
                print(f"CRASH {type(error).__name__}: {error}", flush=True)
                continue
            if answer.status_code >= 500:
                found["crashes"] += 1
                print(f"CRASH {answer.status_code}: {answer.text[:200]}")
            elif answer.status_code == 200:
                found["answers"] += 1
            else:
                found["errors"] += 1
            if number % 50 == 0:
                again = http.post(place, content=bodies[2]).json()
                found["changed"] += again != usual
    return found


def main():
    """Prints and records how many were answered, refused or mishandled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    add_record_argument(parser)
    options = parser.parse_args()
    measured, bad = [], 0
    for what, run, count, good, wrong in (
        ("mutated audio files", try_files, options.files, "equal", "wrong"),
        (
            "mutated requests",
            try_requests,
            options.requests,
            "answers",
            "changed",
        ),
    ):
        found = run(np.random.default_rng(options.seed), count)
        print(f"{count} {what}: {dict(found)}", flush=True)
        bad += found["crashes"] + found[wrong]
        measured += [
            measurement(what, name, found[name], "1")
            for name in (good, "errors", wrong, "crashes")
        ]
    record(options, measured)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
