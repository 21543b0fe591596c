"""How long a corpus takes through a speech encoder, beside other libraries.

Whisper's encoder up to a layer, all clips at their own lengths, in batches of
similar length that are padded to the longest. Contenders take turns, each in a
process of its own, with the same log-mel features, batches and threads:

- ours, in float32 and with bfloat16 products;
- transformers, of which the layers above are removed, where `--python` has it;
- CTranslate2 (the encoder of faster-whisper), with `--ctranslate2 FOLDER` of
  the same model in its own format: it runs all layers, and is compared with
  ours of all layers.

The limit is what the arithmetic would take at the speed of this machine's
largest matrix product; the front end is ours and is timed apart.

    python benchmarks/encoder.py --model ../shared/models/whisper-base \
        --corpus ../shared/corpora/emodb
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

_SUFFIXES = (".wav", ".flac")
RATE = 16000


def batches(file, batch_size):
    """Padded batches of similar length, the longest first, and lengths."""
    import numpy as np

    with np.load(file) as arrays:
        clips = sorted(arrays.values(), key=len, reverse=True)
    found = []
    for first in range(0, len(clips), batch_size):
        some = clips[first : first + batch_size]
        # Two mel frames are one of the encoder.
        longest = len(some[0]) + len(some[0]) % 2
        batch = np.zeros((len(some), longest, some[0].shape[1]), "float32")
        for row, clip in zip(batch, some, strict=True):
            row[: len(clip)] = clip
        found.append((batch, np.array([len(x) for x in some], "int32")))
    return found


def ours(model, layers, dtype="float32"):
    """Function of a batch and lengths."""
    import tensorflow as tf

    from ser_keras.encoders import WhisperEncoder

    encoder = WhisperEncoder.from_pretrained(
        model, num_layers=layers, final_norm=False, dtype=dtype
    )
    graph = tf.function(
        lambda x, lengths: encoder(x, lengths=lengths),
        input_signature=[
            tf.TensorSpec((None, None, encoder.num_mel_bins)),
            tf.TensorSpec((None,), tf.int32),
        ],
        autograph=False,
    )
    return lambda batch, lengths: graph(batch, lengths)[-1].numpy()


def transformers(model, layers):
    """The same; transformers' encoder has no masks, and takes one length."""
    import torch
    from safetensors.numpy import load_file
    from transformers import WhisperConfig
    from transformers.models.whisper import modeling_whisper

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    folder = pathlib.Path(model)
    config = WhisperConfig(**json.loads((folder / "config.json").read_text()))
    encoder = modeling_whisper.WhisperEncoder(config).eval().float()
    tensors = load_file(folder / "model.safetensors")
    encoder.load_state_dict(
        {
            name.removeprefix("model.encoder."): torch.tensor(x).float()
            for name, x in tensors.items()
            if name.startswith("model.encoder.")
        }
    )
    encoder.layers = encoder.layers[:layers]
    positions = encoder.embed_positions.weight

    def run(batch, _):
        frames = batch.shape[1] // 2
        config.max_source_positions = frames
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(
            positions[:frames]
        )
        features = torch.from_numpy(batch).transpose(1, 2).contiguous()
        with torch.inference_mode():
            return encoder(features).last_hidden_state.numpy()

    return run


def ctranslate2(model, _):
    """The same, all layers."""
    import ctranslate2
    import numpy as np

    threads = len(os.sched_getaffinity(0))
    encoder = ctranslate2.models.Whisper(
        model, compute_type="float32", intra_threads=threads
    )

    def run(batch, _):
        features = np.ascontiguousarray(batch.transpose(0, 2, 1))
        features = ctranslate2.StorageView.from_array(features)
        return np.array(encoder.encode(features, to_cpu=True))

    return run


CONTENDERS = {
    "ours": ours,
    "ours, bfloat16": lambda model, layers: ours(
        model, layers, "mixed_bfloat16"
    ),
    "transformers": transformers,
    "CTranslate2": ctranslate2,
}


def work(name, model, layers, file, batch_size):
    """A contender: runs once for each line it reads, and prints seconds."""
    run = CONTENDERS[name](model, layers)
    prepared = batches(file, batch_size)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for batch, lengths in prepared:
            run(batch, lengths)
        print(time.perf_counter() - start, flush=True)


class Contender:
    """A process that waits for its turn."""

    def __init__(self, python, *options):
        self.process = subprocess.Popen(
            [python, __file__, "--work", *map(str, options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{options[0]} did not start; see above")

    def run(self):
        """Seconds of all batches."""
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def features(corpus, limit, file):
    """Writes log-mel frames of a corpus; returns seconds, and frames."""
    import numpy as np

    from ser_keras.audio import WhisperLogMel
    from ser_keras.audio import compute_features
    from ser_keras.audio import load_many

    paths = sorted(x for x in corpus.rglob("*.*") if x.suffix in _SUFFIXES)
    if not paths:
        raise SystemExit(f"{corpus}: no audio files ({', '.join(_SUFFIXES)})")
    clips = load_many(paths[:limit], RATE)[0]
    layer = WhisperLogMel()
    compute_features(clips[:16], layer)  # Traces.
    start = time.perf_counter()
    found = compute_features(clips, layer)
    seconds = time.perf_counter() - start
    np.savez(file, **{f"clip{i}": x for i, x in enumerate(found)})
    return seconds, [(len(x) + 1) // 2 for x in found]


def operations(frames, config, layers):
    """Floating-point operations of clips of so many encoder frames."""
    units, wide = config["d_model"], config["encoder_ffn_dim"]
    total = 0
    for count in frames:
        # Two mel frames of the first convolution are one of the second.
        convolutions = 2 * config["num_mel_bins"] * 3 * units + 3 * units**2
        layer = 4 * units**2 + 2 * units * wide + 2 * count * units
        total += 2 * count * (convolutions + layers * layer)
    return total


def peak():
    """Operations per second of a large float32 matrix product."""
    import tensorflow as tf

    a, b = tf.random.normal((2048, 2048)), tf.random.normal((2048, 2048))
    product = tf.function(tf.matmul)
    product(a, b).numpy()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        product(a, b).numpy()
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def contenders(arguments, file):
    """Processes, by what they run."""
    model, size = arguments.model, arguments.batch_size
    total = json.loads((model / "config.json").read_text())["encoder_layers"]
    found = {}
    for name in ("ours", "ours, bfloat16"):
        options = (name, model, arguments.layers, file, size)
        found[name] = Contender(sys.executable, *options)
    if arguments.python.exists():
        options = ("transformers", model, arguments.layers, file, size)
        found["transformers"] = Contender(arguments.python, *options)
    if arguments.ctranslate2:
        options = ("ours", model, total, file, size)
        found["ours, all layers"] = Contender(sys.executable, *options)
        options = ("CTranslate2", arguments.ctranslate2, total, file, size)
        found["CTranslate2, all layers"] = Contender(sys.executable, *options)
    return found


def main():
    """Prints the table."""
    if sys.argv[1:2] == ["--work"]:
        name, model, layers, file, size = sys.argv[2:]
        return work(name, model, int(layers), file, int(size))
    from recording import add_record_argument
    from recording import measurement
    from recording import record

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--corpus", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--clips", type=int, help="the first so many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--python",
        type=pathlib.Path,
        default=ROOT / ".venv-transformers/bin/python",
        help="of an environment with transformers: make test-transformers",
    )
    parser.add_argument("--ctranslate2", help="folder of the model for it")
    add_record_argument(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "features.npz"
        front, frames = features(arguments.corpus, arguments.clips, file)
        config = json.loads((arguments.model / "config.json").read_text())
        needed = operations(frames, config, arguments.layers)
        speed = peak()
        processes = contenders(arguments, file)
        times = {name: [] for name in processes}
        for round_ in range(arguments.rounds + 1):
            for name, process in processes.items():
                seconds = process.run()
                if round_:  # The first one traces and warms up.
                    times[name].append(seconds)
        for process in processes.values():
            process.close()
    rows = [
        measurement("front end", "time", front, "s"),
        measurement("limit of the arithmetic", "time", needed / speed, "s"),
        measurement("limit of the arithmetic", "speed", speed / 1e9, "GFLOP/s"),
    ]
    median = {name: statistics.median(x) for name, x in times.items()}
    for name, seconds in times.items():
        spread = (min(seconds), max(seconds))
        rows.append(measurement(name, "time", median[name], "s", spread))
        whole = "all layers" in name
        base = median["ours, all layers" if whole else "ours"]
        ratio = median[name] / base
        rows.append(measurement(name, "time over ours", ratio, ""))
        if not whole:
            done = needed / median[name] / 1e9
            rows.append(measurement(name, "speed", done, "GFLOP/s"))
    for row in rows:
        print(
            f"{row['of']:26s}{row['quantity']:16s}{row['value']:9.2f} "
            f"{row['unit']}"
        )
    return record(arguments, rows)


if __name__ == "__main__":
    main()
