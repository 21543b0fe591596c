"""What this library does on your GPU, in one command and under 8 minutes.

This file needs nothing but an installed package, and no data:

    pip install ser_keras "tensorflow[and-cuda]"
    python gpu_check.py --record gpu_check.json

It times steps of searches and trainings, front ends, and a recurrent layer
beside Keras' with cuDNN and without; in float32 and bfloat16, by XLA and by
TensorFlow's own kernels; with the seconds of the first step and the peak of
memory. It compares training on the GPU with training on the CPU. Where PyTorch
is installed, a search in plain PyTorch runs beside ours.

What takes more than a quarter of `--minutes`, or than is left of them, is left
out, and the record says so. Please send us the record: none of us has a GPU.
`--tiny` tries this script with small sizes, also without a GPU.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import multiprocessing
import os
import platform
import shlex
import statistics
import sys
import time
import traceback

#: Functions `(tiny, runtime) -> step`; a step returns a tensor to wait for.
WORKS = {}
PRECISIONS = ("float32", "bfloat16")
CLASSES = 4
#: Largest difference of a GPU's float32 from a CPU's, relative to the largest
#: value, that is rounding.
ROUNDING = 1e-3


def work(name):
    """Registers what is measured under a name; an encoder is one more."""

    def register(function):
        WORKS[name] = function
        return function

    return register


def batch_of(size, *shape):
    """A batch of noise with labels, the same in every process."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, *shape)).astype("float32")
    return x, rng.integers(CLASSES, size=size).astype("int32")


class Training:
    """Steps of a compiled model on one batch.

    Args:
        model: The model.
        element: What a step gets.
    """

    def __init__(self, model, element):
        import tensorflow as tf

        self.model = model
        self.data = tf.data.Dataset.from_tensors(element).repeat()
        self.batches = None

    def __call__(self):
        if self.batches is None:
            # Makes what Keras makes before the first step.
            self.model.fit(self.data, steps_per_epoch=1, verbose=0)
            self.batches = iter(self.data.prefetch(2))
        logs = self.model.train_function(self.batches)
        return logs["loss"] if "loss" in logs else next(iter(logs.values()))


def search(space, shape, batch, order, runtime, **sizes):
    """Steps of a search."""
    import ser_keras as ser

    supernet = ser.SuperNet(space, (None, *shape[1:]), CLASSES, seed=0, **sizes)
    supernet.compile(order=order, **runtime.compile_arguments())
    half = batch_of(batch, *shape)
    return Training(supernet, (half, half))


def emodarts_search(tiny, runtime, order, published):
    """A search as `ser_keras search emodarts` runs it."""
    import ser_keras as ser

    config = ser.experiments.EmoDARTSConfig(published=published, smoke=tiny)
    experiment = ser.experiments.EmoDARTSExperiment(config)
    config = experiment.config
    return search(
        experiment.space(),
        (frames(experiment), config.num_features, 1),
        config.search_batch_size,
        order,
        runtime,
        filters=config.search_filters,
        num_cells=config.num_cells,
        num_recurrent_cells=config.num_recurrent_cells,
        recurrent_filters=config.recurrent_filters,
        shared_stacks=not published,
        stem_strides=1 if published else 2,
    )


def frames(experiment):
    """Frames of a training clip."""
    return experiment.preprocessor().duration_frames()


def train(experiment, runtime, sizes=None):
    """Steps of a training, as `ser_keras train` runs it."""
    import numpy as np

    import ser_keras as ser

    config = experiment.config
    labels = tuple(f"class {i}" for i in range(CLASSES))
    clips = [
        ser.corpora.Utterance(label, "x.wav", label, "a") for label in labels
    ]
    manifest = ser.Manifest(clips, labels)
    sizes = sizes or {"": (frames(experiment), config.num_features)}
    sets = {
        name: ser.FeatureSet(manifest, [np.ones(size, "float32")] * CLASSES)
        for name, size in sizes.items()
    }
    genotype = None
    if hasattr(experiment, "space"):
        genotype = experiment.space().sample(0)
    features = ser.FeatureStreams(sets) if len(sets) > 1 else sets[""]
    network = experiment.build(features, genotype)
    network.compile(
        ser.optimizers.FusedAdamW(1e-3),
        ser.SparseCategoricalFocalCrossentropy(from_logits=True),
        metrics=[ser.UnweightedAverageRecall(CLASSES)],
        **runtime.compile_arguments(),
    )
    size = config.batch_size
    x = {name: batch_of(size, *s, 1)[0] for name, s in sizes.items()}
    x = x if len(x) > 1 else x[""]
    return Training(network, (x, batch_of(size)[1]))


def system(name, tiny, **options):
    """A system with its defaults."""
    import ser_keras as ser

    config = getattr(ser.experiments, f"{name}Config")(smoke=tiny, **options)
    return getattr(ser.experiments, f"{name}Experiment")(config)


@work("search, ours, first order")
def _(tiny, runtime):
    return emodarts_search(tiny, runtime, 1, published=False)


@work("search of CNN cells, second order")
def _(tiny, runtime):
    """The size of `torch_search`."""
    import ser_keras as ser

    size = 8 if tiny else 32
    return search(
        ser.SearchSpace(recurrent=(), num_nodes=1 if tiny else 4),
        (size, size, 1),
        2 if tiny else 16,
        2,
        runtime,
        filters=2 if tiny else 8,
        num_cells=3 if tiny else 4,
        num_recurrent_cells=0,
        recurrent_filters=4 if tiny else 128,
        frequency_pooling="mean",
        pooling="mean",
        masking=False,
    )


@work("training, emodarts")
def _(tiny, runtime):
    return train(system("EmoDARTS", tiny, architecture="random"), runtime)


@work("training, emotionnas")
def _(tiny, runtime):
    with contextlib.redirect_stdout(None):
        found = system("EmotionNAS", tiny, architecture="random")
    bands = found.config.num_features
    sizes = {"handcrafted": (30 if tiny else 184, bands), "deep": (7, 1024)}
    return train(found, runtime, sizes)


@work("training, light_sernet")
def _(tiny, runtime):
    return train(system("LightSERNet", tiny), runtime)


@work("training, hand_made")
def _(tiny, runtime):
    return train(system("HandMade", tiny), runtime)


def front_end(layer, tiny, runtime):
    """Features of a batch of clips of 3 s."""
    import tensorflow as tf

    x = tf.constant(batch_of(2 if tiny else 32, 8000 if tiny else 48000)[0])
    compiled = runtime.xla == "on"
    function = tf.function(layer, autograph=False, jit_compile=compiled)
    return lambda: function(x)


@work("front end, MFCC")
def _(tiny, runtime):
    import ser_keras as ser

    return front_end(ser.MFCC(sample_rate=16000), tiny, runtime)


@work("front end, log-mel")
def _(tiny, runtime):
    import ser_keras as ser

    return front_end(ser.LogMelSpectrogram(sample_rate=16000), tiny, runtime)


@work("encoder, Whisper base")
def _(tiny, runtime):
    """Hidden states of a batch of clips of 3 s; untrained weights."""
    import numpy as np
    import tensorflow as tf

    import ser_keras as ser

    sizes = (2, 16, 2, 32) if tiny else (6, 512, 8, 2048)
    encoder = ser.encoders.WhisperEncoder(*sizes)
    x = tf.constant(batch_of(2 if tiny else 32, 30 if tiny else 300, 80)[0])
    lengths = tf.constant(np.linspace(20, x.shape[1], len(x)).astype("int32"))

    @tf.function(autograph=False, jit_compile=runtime.xla == "on")
    def step():
        return tf.cast(encoder(x, lengths=lengths)[-1], "float32")

    return step


def recurrent(layer, tiny, runtime):
    """Gradients of a recurrent layer over 184 frames."""
    import keras
    import tensorflow as tf

    filters = 8 if tiny else 128
    layer = layer(filters)
    x = tf.constant(
        batch_of(2 if tiny else 32, 20 if tiny else 184, filters)[0]
    )
    layer.build(x.shape)
    weights = [variable.value for variable in layer.trainable_variables]

    @tf.function(autograph=False, jit_compile=runtime.xla == "on")
    def step():
        with tf.GradientTape() as tape:
            (y,) = keras.tree.flatten(layer(x, training=True))
            loss = tf.reduce_sum(tf.cast(y, "float32") ** 2)
        gradients = tape.gradient(loss, weights)
        return loss, gradients

    return lambda: step()[0]


@work("LSTM, ours")
def _(tiny, runtime):
    import ser_keras as ser

    return recurrent(
        lambda filters: ser.layers.RecurrentMixedOp([["lstm_1"]], filters),
        tiny,
        runtime,
    )


def keras_lstm(use_cudnn):
    """A function that makes Keras' layer."""
    import keras

    return lambda filters: keras.layers.LSTM(
        filters, return_sequences=True, use_cudnn=use_cudnn
    )


@work("LSTM, Keras with cuDNN")
def _(tiny, runtime):
    if runtime.xla == "on":
        raise NotImplementedError("XLA does not compile cuDNN's LSTM")
    return recurrent(keras_lstm(True), tiny, runtime)


@work("LSTM, Keras without cuDNN")
def _(tiny, runtime):
    return recurrent(keras_lstm(False), tiny, runtime)


@work("search, ours, second order")
def _(tiny, runtime):
    return emodarts_search(tiny, runtime, 2, published=False)


@work("search, published, first order")
def _(tiny, runtime):
    return emodarts_search(tiny, runtime, 1, published=True)


@work("search, published, second order")
def _(tiny, runtime):
    return emodarts_search(tiny, runtime, 2, published=True)


def timed(step, wait, tiny):
    """Seconds of the first step, and a list of those of later ones."""
    start = time.perf_counter()
    wait(step())
    first = time.perf_counter() - start
    start = time.perf_counter()
    wait(step())
    # Several together, as a training waits for no step's result.
    together = 5 if time.perf_counter() - start < 0.1 else 1
    times, end = [], time.perf_counter() + (0.1 if tiny else 3)
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 20):
        start = time.perf_counter()
        for _ in range(together):
            found = step()
        wait(found)
        times.append((time.perf_counter() - start) / together)
    return first, times


def measure(name, precision, xla, tiny):
    """Times a piece of work in this process."""
    import keras
    import tensorflow as tf

    import ser_keras as ser

    keras.utils.set_random_seed(0)
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        tf.config.experimental.reset_memory_stats("GPU:0")
    runtime = ser.training.Runtime("none", precision=precision, xla=xla)
    with runtime.scope():
        step = WORKS[name](tiny, runtime)
        first, times = timed(step, keras.ops.convert_to_numpy, tiny)
    memory = None
    if gpus:
        memory = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    del step
    keras.backend.clear_session()
    gc.collect()
    return {"first": first, "times": times, "memory": memory}


def trained(name, steps=3):
    """Losses and weights of a few tiny steps in float32, without dropout."""
    import keras
    import numpy as np
    import tensorflow as tf

    import ser_keras as ser

    # Else GPUs round the factors of products to 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    keras.utils.set_random_seed(0)
    runtime = ser.training.Runtime("none", xla="off")
    with runtime.scope(), without_dropout():
        step = WORKS[name](True, runtime)
        losses = [float(keras.ops.mean(step())) for _ in range(steps)]
    model = getattr(step, "model", None)
    weights = model.get_weights() if model else [step().numpy()]
    tf.config.experimental.enable_tensor_float_32_execution(True)
    flat = np.concatenate([np.ravel(x).astype("float64") for x in weights])
    return {"losses": losses, "weights": flat}


@contextlib.contextmanager
def without_dropout():
    """Context in which dropout keeps everything: GPUs draw other numbers."""
    import keras

    call = keras.layers.Dropout.call
    keras.layers.Dropout.call = lambda self, inputs, training=False: inputs
    try:
        yield
    finally:
        keras.layers.Dropout.call = call


def torch_search(tiny):
    """DARTS' search over CNN cells in plain PyTorch: second-order steps.

    The size of "search of CNN cells, second order".
    """
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    nodes, filters, cells = (1, 2, 3) if tiny else (4, 8, 4)
    size, batch, width = (8, 2, 4) if tiny else (32, 16, 128)

    def norm(channels):
        return nn.BatchNorm2d(channels, affine=False)

    def separable(c, kernel, stride, dilation, times):
        layers = []
        for number in range(times):
            padding = dilation * (kernel // 2)
            step = stride if number == 0 else 1
            layers += [
                nn.ReLU(),
                nn.Conv2d(
                    c, c, kernel, step, padding, dilation, groups=c, bias=False
                ),
                nn.Conv2d(c, c, 1, bias=False),
                norm(c),
            ]
        return nn.Sequential(*layers)

    class Reduce(nn.Module):
        """Two convolutions of stride 2, one of them a pixel later."""

        def __init__(self, before, after):
            super().__init__()
            self.first = nn.Conv2d(before, after // 2, 1, 2, bias=False)
            self.second = nn.Conv2d(before, after // 2, 1, 2, bias=False)
            self.norm = norm(after)

        def forward(self, x):
            x = torch.relu(x)
            parts = self.first(x), self.second(x[:, :, 1:, 1:])
            return self.norm(torch.cat(parts, 1))

    def project(before, after):
        return nn.Sequential(
            nn.ReLU(), nn.Conv2d(before, after, 1, bias=False), norm(after)
        )

    class Mixed(nn.Module):
        """The candidates of an edge; `none` adds nothing."""

        def __init__(self, c, stride):
            super().__init__()
            self.candidates = nn.ModuleList(
                [
                    nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(c)),
                    nn.Sequential(
                        nn.AvgPool2d(3, stride, 1, count_include_pad=False),
                        norm(c),
                    ),
                    nn.Identity() if stride == 1 else Reduce(c, c),
                    separable(c, 3, stride, 1, 2),
                    separable(c, 5, stride, 1, 2),
                    separable(c, 3, stride, 2, 1),
                    separable(c, 5, stride, 2, 1),
                ]
            )

        def forward(self, x, weights):
            pairs = zip(weights, self.candidates)  # noqa: B905
            return sum(weight * candidate(x) for weight, candidate in pairs)

    class SearchCell(nn.Module):
        """Nodes with an edge from every state before them."""

        def __init__(self, older, newer, c, reduces, after_reduction):
            super().__init__()
            first = Reduce if after_reduction else project
            self.inputs = nn.ModuleList([first(older, c), project(newer, c)])
            self.edges = nn.ModuleList(
                Mixed(c, 2 if reduces and source < 2 else 1)
                for node in range(nodes)
                for source in range(node + 2)
            )

        def forward(self, older, newer, weights):
            states = [self.inputs[0](older), self.inputs[1](newer)]
            edge = 0
            for _ in range(nodes):
                total = 0
                for state in list(states):
                    total = total + self.edges[edge](state, weights[edge])
                    edge += 1
                states.append(total)
            return torch.cat(states[2:], 1)

    class Net(nn.Module):
        """Stem, cells, mean over frequency and time, classifier."""

        def __init__(self):
            super().__init__()
            c, widths, reduced = filters, (3 * filters,) * 2, False
            self.stem = nn.Sequential(
                nn.Conv2d(1, 3 * filters, 3, padding=1, bias=False),
                nn.BatchNorm2d(3 * filters),
            )
            self.cells, self.kinds = nn.ModuleList(), []
            for i in range(cells):
                reduces = i in (cells // 3, 2 * cells // 3)
                c *= 2 if reduces else 1
                self.cells.append(SearchCell(*widths, c, reduces, reduced))
                self.kinds.append(int(reduces))
                widths, reduced = (widths[1], nodes * c), reduces
            self.sequence = nn.ModuleList(
                nn.Sequential(nn.Linear(w, width), nn.LayerNorm(width))
                for w in widths
            )
            self.classifier = nn.Linear(width, CLASSES)

        def forward(self, x, alphas):
            older = newer = self.stem(x)
            for cell, kind in zip(self.cells, self.kinds):  # noqa: B905
                weights = torch.softmax(alphas[kind], -1)[:, :-1]
                older, newer = newer, cell(older, newer, weights)
            # Each at its own frame rate, averaged over all frames.
            parts = [
                projection(x.mean(3).transpose(1, 2)).mean(1)
                for projection, x in zip(self.sequence, (older, newer))  # noqa: B905
            ]
            return self.classifier(sum(parts))

    net = Net().to(device)
    edges = sum(node + 2 for node in range(nodes))
    alphas = [
        nn.Parameter(1e-3 * torch.randn(edges, 8, device=device))
        for _ in range(2)
    ]
    weights = list(net.parameters())
    rate, momentum, decay = 0.025, 0.9, 3e-4
    of_weights = torch.optim.SGD(
        weights, rate, momentum=momentum, weight_decay=decay
    )
    of_alphas = torch.optim.Adam(
        alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3
    )
    x, y = batch_of(batch, 1, size, size)
    x = torch.from_numpy(x).to(device)
    y = torch.from_numpy(y).long().to(device)

    def loss_of():
        return nn.functional.cross_entropy(net(x, alphas), y)

    def moved(by, factor):
        with torch.no_grad():
            for weight, direction in zip(weights, by):  # noqa: B905
                weight.add_(direction, alpha=factor)

    def alphas_at(by, factor):
        moved(by, factor)
        found = torch.autograd.grad(loss_of(), alphas)
        moved(by, -factor)
        return found

    def step():
        gradients = torch.autograd.grad(loss_of(), weights)
        with torch.no_grad():
            steps = [
                momentum * of_weights.state[weight].get("momentum_buffer", 0.0)
                + gradient
                + decay * weight
                for weight, gradient in zip(weights, gradients)  # noqa: B905
            ]
        moved(steps, -rate)
        found = torch.autograd.grad(loss_of(), [*alphas, *weights])
        moved(steps, rate)
        direct, vector = found[:2], found[2:]
        length = torch.sqrt(sum((v * v).sum() for v in vector))
        epsilon = float(0.01 / length)
        above = alphas_at(vector, epsilon)
        below = alphas_at(vector, -epsilon)
        for alpha, d, a, b in zip(alphas, direct, above, below):  # noqa: B905
            alpha.grad = d - rate * (a - b) / (2 * epsilon)
        of_alphas.step()
        of_weights.zero_grad()
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        of_weights.step()
        return loss

    return step, sum(weight.numel() for weight in weights)


def measure_torch(tiny):
    """Times the search in PyTorch in this process."""
    import torch

    step, parameters = torch_search(tiny)
    first, times = timed(step, lambda loss: loss.item(), tiny)
    memory = None
    if torch.cuda.is_available():
        memory = torch.cuda.max_memory_allocated()
    return {
        "first": first,
        "times": times,
        "memory": memory,
        "parameters": parameters,
    }


def devices():
    """Names of the GPUs that TensorFlow can use."""
    import tensorflow as tf

    return [
        tf.config.experimental.get_device_details(device).get(
            "device_name", device.name
        )
        for device in tf.config.list_physical_devices("GPU")
    ]


TASKS = {
    "measure": measure,
    "trained": trained,
    "torch": measure_torch,
    "devices": devices,
}


def serve(connection, environment):
    """The other process: does what it is told to."""
    os.environ.update(environment)
    while True:
        task, arguments = connection.recv()
        try:
            answer = TASKS[task](*arguments)
        except NotImplementedError as error:
            answer = str(error)
        except Exception as error:  # noqa: BLE001 - the rest is still measured.
            traceback.print_exc()
            answer = f"{type(error).__name__}: {str(error)[:200]}"
        connection.send(answer)


class Worker:
    """A process with a device, made anew after it has died or took too long.

    Args:
        environment: Environment variables of it.
    """

    def __init__(self, **environment):
        self.environment = environment
        self.process = None

    def __call__(self, seconds, task, *arguments):
        """What a task returned, or a sentence that says why nothing came."""
        if seconds <= 0:
            return "no time was left"
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, other = context.Pipe()
            self.process = context.Process(
                target=serve, args=(other, self.environment), daemon=True
            )
            self.process.start()
            other.close()
        self.connection.send((task, arguments))
        try:
            if self.connection.poll(seconds):
                return self.connection.recv()
            answer = f"stopped after {seconds:.0f} s"
        except EOFError:
            self.process.join()
            answer = f"the process ended with {self.process.exitcode}"
        self.close()
        return answer

    def close(self):
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


class Results:
    """Rows of the record, printed as they come."""

    def __init__(self):
        self.rows, self.left_out = [], []

    def add(self, of, quantity, value, unit, spread=None):
        """Adds a measured value."""
        from ser_keras.reports import measurement

        self.rows.append(measurement(of, quantity, value, unit, spread))
        print(f"{of}: {quantity} {value:.4g} {unit}", flush=True)

    def steps(self, of, found):
        """Adds what `measure` returned."""
        if isinstance(found, str):
            self.left_out.append(f"{of}: {found}")
            print(f"{of}: not measured: {found}", flush=True)
            return
        times = [1000 * x for x in found["times"]]
        self.add(
            of,
            "step",
            statistics.median(times),
            "ms",
            (min(times), max(times)),
        )
        self.add(of, "first step", found["first"], "s")
        if found["memory"] is not None:
            self.add(of, "peak memory", found["memory"] / 1e9, "GB")
        if "parameters" in found:
            self.add(of, "parameters", found["parameters"], "")


def compare_with_cpu(gpu, names, seconds_left, results):
    """Adds the differences of a few tiny steps on the GPU from the CPU's."""
    import numpy as np

    cpu = Worker(CUDA_VISIBLE_DEVICES="-1")
    for name in names:
        found = gpu(seconds_left(), "trained", name)
        wanted = found
        if not isinstance(found, str):
            wanted = cpu(seconds_left(), "trained", name)
        if isinstance(wanted, str):
            results.left_out.append(f"{name}, equality: {wanted}")
            print(f"{name}, equality: not measured: {wanted}", flush=True)
            continue
        for what in ("losses", "weights"):
            a, b = np.asarray(found[what]), np.asarray(wanted[what])
            difference = np.abs(a - b).max() / np.abs(b).max()
            results.add(
                name, f"difference of {what} from the CPU's", difference, ""
            )
            if not difference < ROUNDING:
                results.left_out.append(
                    f"{name}: NOT EQUAL to the CPU: {what} differ by "
                    f"{difference:.2g} of the largest"
                )
    cpu.close()


def write(arguments, results, gpus):
    """Writes the record."""
    from ser_keras.reports import benchmark_record
    from ser_keras.reports import write_record

    options = [x for x in sys.argv[1:] if not x.startswith("--record=")]
    if "--record" in options:
        at = options.index("--record")
        del options[at : at + 2]
    record = benchmark_record(
        "gpu_check",
        shlex.join(["python", "benchmarks/gpu_check.py", *options]),
        results.rows,
    )
    record["machine"] += f", {', '.join(gpus) or 'no GPU'}"
    record["machine"] += f", {platform.system()}"
    if results.left_out:
        record["notes"] = "Not measured: " + "; ".join(results.left_out) + "."
    write_record(record, arguments.record, replace=True)


def main():
    """Measures what there is time for, most important first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument(
        "--only", nargs="+", choices=WORKS, default=[*WORKS], metavar="WORK"
    )
    parser.add_argument(
        "--record", metavar="FILE", help="JSON file to write; it is replaced"
    )
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes

    def seconds_left():
        # What compiles for minutes must not take the time of all others.
        return min(end - time.monotonic(), 15 * arguments.minutes)

    # Else TensorFlow takes all memory of the GPU, and its peak says nothing.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    worker, results = Worker(), Results()
    gpus = worker(seconds_left(), "devices")
    if isinstance(gpus, str):
        sys.exit(f"TensorFlow does not start: {gpus}")
    if not gpus and not arguments.tiny:
        sys.exit(
            "TensorFlow finds no GPU here. Install its CUDA libraries by pip "
            'install "tensorflow[and-cuda]", or try this script with --tiny'
        )
    trains = [x for x in arguments.only if not x.startswith("LSTM")]
    # The largest searches trace for minutes on a CPU, and are no other code.
    trains = [x for x in trains if "published" not in x]

    def all_works(precision, xla):
        for name in arguments.only:
            of = f"{name}; {precision}, XLA {xla}"
            found = worker(
                seconds_left(), "measure", name, precision, xla, arguments.tiny
            )
            results.steps(of, found)

    all_works("float32", "off")
    if "search of CNN cells, second order" in arguments.only:
        of = "search of CNN cells, second order, plain PyTorch; float32"
        worker.close()  # It would keep the GPU's memory.
        found = "PyTorch is not installed"
        if importlib.util.find_spec("torch") is not None:
            found = Worker()(seconds_left(), "torch", arguments.tiny)
        results.steps(of, found)
    compare_with_cpu(worker, trains, seconds_left, results)
    for precision, xla in (
        ("bfloat16", "off"),
        ("float32", "on"),
        ("bfloat16", "on"),
    ):
        all_works(precision, xla)
    worker.close()
    print(json.dumps({"rows": len(results.rows), "notes": results.left_out}))
    if arguments.record:
        write(arguments, results, gpus)


if __name__ == "__main__":
    main()
