"""Real recordings for tests."""

import contextlib
import ctypes
import functools
import gc
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from keras.src.saving import saving_lib

import ser_keras.cli
from ser_keras._files import replace_file
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.normalization import UtteranceNormalization
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.features.feature_set import FeatureSet
from ser_keras.layers.masking import frame_mask
from ser_keras.layers.masking import zero_padding
from ser_keras.models.waveform_model import with_frontend

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent

# Half a minute each and more, the longest first: begun in this order, so that
# none runs last with nothing beside it.
LONG_FILES = (
    "test_same_answers.py",
    "test_as_shipped.py",
    "test_xla.py",
    "test_recipes.py",
    "test_folds.py",
    "test_supernet.py",
    "test_stopped_runs.py",
    "test_benchmarks.py",
    "test_cell_network.py",
    "test_runtime.py",
    "test_multi_worker.py",
    "test_distributed_fit.py",
    "test_tune.py",
    "test_registered_layers.py",
    "test_resumable.py",
    "test_replicas.py",
    "test_runs.py",
    "test_kernels.py",
    "test_runtimes.py",
    "test_notebook.py",
    "test_server.py",
    "test_demo.py",
    "test_readme.py",
)

# What `make check` leaves out: whole runs, trained networks, exported models,
# files of many networks or of a browser, and the longest of the rest.
SLOW_FILES = (
    "test_baselines.py",
    "test_commands.py",
    "test_conv_mixed_op.py",
    "test_cross_validation.py",
    "test_encoder.py",
    "test_fused.py",
    "test_import.py",
    "test_mfcc.py",
    "test_presets.py",
    "test_published.py",
    "test_recurrence.py",
    "test_recurrent_ops.py",
    "test_report_page.py",
)
SLOW_FOLDERS = {
    "cli",
    "experiments",
    "export",
    "models",
    "recipes",
    "search",
    "serving",
    "training",
}

# First line of a program that is as `pytest_configure` makes this process.
UNOPTIMISED = (
    "import tensorflow as tf; tf.config.optimizer."
    "set_experimental_options({'disable_meta_optimizer': True})"
)

# Programs that tests start; pytest would import them to look for doctests.
collect_ignore = [
    "encoders/data/make.py",
    "features/killed_extraction.py",
    "features/extractors/tiny_encoders.py",
    "search/kernels_search.py",
]


@pytest.fixture(scope="session")
def repository():
    """Root of the source tree."""
    return REPOSITORY


def train_eagerly(monkeypatch):
    """Trains without graphs: to trace one takes longer than a few steps."""
    eagerly = property(lambda model: True, lambda model, value: None)
    monkeypatch.setattr(keras.Model, "run_eagerly", eagerly)


@pytest.fixture
def eager_training(monkeypatch):
    """As `train_eagerly`, in all of a test."""
    train_eagerly(monkeypatch)


@pytest.fixture
def empty_figures(monkeypatch):
    """Figures are empty files: to draw those of a run takes a second."""
    from ser_keras.reports import cell_drawing
    from ser_keras.reports import figures
    from ser_keras.reports import stream_figure

    def save(figure, path):
        replace_file(path, lambda file: pathlib.Path(file).touch())

    for module in (cell_drawing, figures, stream_figure):
        monkeypatch.setattr(module, "save_figure", save)


@pytest.fixture
def run_recipe(repository, monkeypatch, capfd, eager_training):
    """Runs a recipe with `--smoke` in this process, in seconds less.

    `run_recipe(name, folder, *flags)` returns a `CompletedProcess`, as if it
    had been a program in `folder`; the run's folder is `results/run` there.
    """

    def run(recipe, folder, *flags):
        path = repository / "recipes" / recipe
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        monkeypatch.chdir(folder)
        capfd.readouterr()
        argv = ["--smoke", "--output-dir", "results/run", *flags]
        status = 0
        try:
            ser_keras.cli.run(module.main, module.Config, argv)
        except SystemExit as stop:
            status = stop.code
        return subprocess.CompletedProcess(argv, status, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def corpora_root():
    """Folder with `emodb/` and `ravdess/`, real recordings, read only."""
    default = REPOSITORY.parent / "shared/corpora"
    root = pathlib.Path(os.environ.get("SER_KERAS_CORPORA", default))
    if not root.is_dir():
        pytest.skip(f"no corpora at {root}; set SER_KERAS_CORPORA")
    return root


@pytest.fixture(scope="session")
def recordings(corpora_root):
    """Six real utterances, mono float32 at 16 kHz, of different lengths."""
    paths = sorted((corpora_root / "emodb").glob("*.flac"))[::90][:6]
    if len(paths) < 6:
        pytest.skip(f"no recordings in {corpora_root / 'emodb'}")
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != 16000 or samples.ndim != 1:
            pytest.fail(f"{path} is not 16 kHz mono")
        clips.append(np.ascontiguousarray(samples))
    return clips


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, which keeps a record of what it loads."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="needs selenium"
    )
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium with its driver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options, service) as chrome:
        yield chrome


@keras.saving.register_keras_serializable("tests")
class MaskedNetwork(keras.Model):
    """The smallest network that reads padded features as ours do."""

    def __init__(self, num_classes=4, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.hidden = keras.layers.Dense(8, activation="tanh")
        self.classifier = keras.layers.Dense(num_classes)
        self.build((None, None, 20, 1))

    def build(self, input_shape):
        self.hidden.build((None, None, input_shape[2]))
        self.classifier.build((None, 8))

    def call(self, inputs):
        mask = frame_mask(inputs)
        x = zero_padding(self.hidden(inputs[..., 0]), mask)
        frames = keras.ops.sum(keras.ops.cast(mask, x.dtype), 1)
        return self.classifier(4 * keras.ops.sum(x, 1) / frames[:, None])

    def get_config(self):
        return {"name": self.name, "num_classes": self.num_classes}


def toy_features(speakers="abcd", each=6, seed=0):
    """Noise as features, `(20, 8)` each, whose mean tells two classes apart.

    Utterances are `a0`, `a1`, ... of speaker `a`; they have no audio.
    """
    rng = np.random.default_rng(seed)
    labels = ("anger", "neutral")
    rows = [
        Utterance(f"{s}{i}", "x.wav", labels[i % 2], s)
        for s in speakers
        for i in range(each)
    ]
    arrays = [
        rng.normal(i % 2, 1, (20, 8)).astype("float32")
        for _ in speakers
        for i in range(each)
    ]
    return FeatureSet(Manifest(rows, labels), arrays)


def toy_network(*_):
    """A network of `toy_features` that traces in no time."""
    return keras.Sequential(
        [
            keras.Input((None, 8, 1)),
            keras.layers.Conv2D(2, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )


@pytest.fixture(scope="module")
def waveform_model():
    """Waveforms at 16 kHz to probabilities of four classes; not trained."""
    return with_frontend(
        MaskedNetwork(),
        MFCC(sample_rate=16000, num_coefficients=20, delta_order=0),
        UtteranceNormalization(),
    )


def is_slow(path):
    """Whether `make check` leaves a file out."""
    folders = path.relative_to(REPOSITORY).parts[1:-1]
    named = path.name in (*LONG_FILES, *SLOW_FILES)
    return named or bool({*folders} & SLOW_FOLDERS)


def pytest_ignore_collect(collection_path, config):
    """Files of which no test would run are not imported either."""
    wanted = {"slow": True, "not slow": False}.get(config.option.markexpr)
    if wanted is None or not collection_path.is_file():
        return None
    return True if is_slow(collection_path) != wanted else None


def pytest_collection_modifyitems(items):
    """Marks what `make check` leaves out, and puts long files first."""
    for item in items:
        if is_slow(item.path):
            item.add_marker(pytest.mark.slow)
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def pytest_collection_finish():
    """Leaves what imports made out of all later garbage collections."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish():
    """Undoes it, for what pytest's plugins look for at the end."""
    gc.unfreeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Gives the memory of a file's graphs back to the system.

    glibc keeps freed memory for the threads that used it, which adds up to
    many GB over the files that a test process runs. Comes after the fixtures
    of the file have ended. What is still there then are modules and caches,
    which no later collection need look through: it would take a second each.
    """
    if nextitem is None or nextitem.path != item.path:
        free_memory()
        gc.freeze()


def free_memory():
    """Collects garbage, and returns free memory to the system."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # Not glibc.
        ctypes.CDLL(None).malloc_trim(0)


def pytest_configure(config):
    """Graphs run as they are traced: here each runs a few times only.

    Optimising a graph takes as long as tracing it, which is most of the time
    of a test that trains. The programs that tests start do optimise. XLA still
    has its own passes, and only LLVM's after them are left out. Where several
    test processes share the cores, each is given one: then none waits for
    another's.
    """
    if "SER_KERAS_AS_SHIPPED" in os.environ:  # Of `as_shipped.py`.
        return
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": True}
    )
    # Keras 3.15 keeps what it finds here under one name and looks for it under
    # another, and so makes a layer for each one that it saves or loads.
    saving_lib.get_attr_skipset = functools.cache(saving_lib.get_attr_skipset)
