"""What every run does, whatever it trains."""

import contextlib
import dataclasses
import json
import math
import pathlib

from ser_keras.audio.augmentation.speed import AtSpeed
from ser_keras.audio.log_mel import LogMelSpectrogram
from ser_keras.audio.mfcc import MFCC
from ser_keras.audio.spectrogram import Spectrogram
from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.cross_validation import CrossValidation
from ser_keras.export.card import ModelCard
from ser_keras.export.saved_model.export import export_serving
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.feature_set import features_for
from ser_keras.protocols.protocol import overstated
from ser_keras.protocols.splits import check_classes
from ser_keras.reports.report import summary
from ser_keras.reports.report import write_report
from ser_keras.training.run_folder import RunFolder

_FRAMES = {
    "sample_rate": 16000,
    "frame_length": 1024,
    "frame_step": 256,
    "fft_length": 1024,
    "log": "natural",
}


def chosen_folds(folds, number):
    """The fold of a number, from 1 on, as a list; all folds for 0.

    Raises:
        ValueError: There is no such fold, or one lacks a class in training.
    """
    if not 0 <= number <= len(folds):
        names = ", ".join(
            f"{i} ({fold.name})" for i, fold in enumerate(folds, start=1)
        )
        raise ValueError(
            f"`fold` must be one of {names}, or 0 for all. Received: "
            f"fold={number}"
        )
    folds = folds if number == 0 else [folds[number - 1]]
    for fold in folds:
        check_classes(fold)
    return folds


def all_utterances(folds) -> Manifest:
    """All utterances of the folds, each once."""
    utterances = {
        utterance.id: utterance
        for fold in folds
        for part in (fold.train, fold.test)
        for utterance in part
    }
    return Manifest(list(utterances.values()), folds[0].train.labels)


def speech_features(kind, num_features):
    """Front end of a run at 16 kHz: 64 ms frames, 16 ms apart.

    Args:
        kind: `"log_mel"`, `"mfcc"` of 128 bands, `"mfcc_deltas"`, the same
            with first and second derivatives, or `"spectrogram"`, whose frames
            are 16 ms long: 129 features, 62.5 Hz apart.
        num_features: Bands or coefficients; not of a spectrogram.

    Returns:
        A layer such as `MFCC`.
    """
    if kind == "spectrogram":
        return Spectrogram(
            **(_FRAMES | {"frame_length": 256, "fft_length": 256})
        )
    options = _FRAMES | {"low_frequency": 50.0}
    if kind in ("mfcc", "mfcc_deltas"):
        return MFCC(
            num_mel_bins=128,
            num_coefficients=num_features,
            delta_order=2 if kind == "mfcc_deltas" else 0,
            **options,
        )
    return LogMelSpectrogram(num_mel_bins=num_features, **options)


def duration_frames(duration, frontend) -> int:
    """Frames of a clip of `duration` seconds."""
    samples = math.ceil(duration * frontend.sample_rate)
    return int(frontend.num_frames(samples))


def check_speed_range(speed_range: float) -> None:
    """Raises `ValueError` unless this is a part of a clip's speed."""
    if not 0 <= speed_range < 1:
        raise ValueError(
            "`speed_range` must be at least 0 and below 1. Received: "
            f"speed_range={speed_range}"
        )


def read_features(
    config, manifest, frontend, normalization, run=None
) -> FeatureSet:
    """Features of a manifest from the cache; tells what it skipped.

    With a `RunFolder`, `skipped.json` in it says so, too.
    """
    features = features_for(
        manifest,
        frontend,
        config.cache_dir,
        normalization=normalization,
        skip_bad_audio=config.skip_bad_audio,
    )
    if run is not None:
        write_skipped(run, features)
    if features.skipped:
        print(f"skipped {len(features.skipped)} files with bad audio:")
        for skipped in features.skipped:
            print(f"  {skipped.path}: {skipped.reason}")
    return features


def read_copies(config, manifest, frontend, normalization) -> list[FeatureSet]:
    """Features of the same clips slower and faster by `config.speed_range`.

    For training; none if it is 0. Pitch and formants go with the speed, as if
    other people spoke.
    """
    if not config.speed_range:
        return []
    return [
        read_features(config, manifest, AtSpeed(frontend, speed), normalization)
        for speed in (1 - config.speed_range, 1 + config.speed_range)
    ]


def write_skipped(run: RunFolder, features) -> None:
    """Writes `skipped.json`: what was left out as bad audio, and why."""
    run.write_json("skipped.json", features.skipped)


class OneAfterAnother:
    """Augmentations in a row; can be sent to another process.

    Args:
        *layers: Augmentations of features.

    >>> from ser_keras.audio.augmentation.layers import SpecAugment
    >>> both = OneAfterAnother(SpecAugment(), SpecAugment(num_time_masks=0))
    >>> both.augment(tf.ones((1, 50, 40)), (1, 2)).shape
    TensorShape([1, 50, 40])
    """

    def __init__(self, *layers):
        self.layers = layers

    def augment(self, x, seed):
        """Another version of each clip, `(batch, time, features)`."""
        for layer in self.layers:
            x = layer.augment(x, seed)
        return x

    def __reduce__(self):
        # The variables of layers cannot be pickled; `augment` needs none.
        layers = [(type(x), x.get_config()) for x in self.layers]
        return _one_after_another, (layers,)


def _one_after_another(layers):
    return OneAfterAnother(*[kind.from_config(c) for kind, c in layers])


def finish(
    config,
    run: RunFolder,
    outcome: CrossValidation,
    frontend,
    normalization,
    **entries,
) -> dict:
    """Exports the network, writes the report, says where everything is.

    Args:
        config: The run's configuration.
        run: Its folder.
        outcome: What `cross_validate` returned.
        frontend: Layer from waveforms to features.
        normalization: Of the features, or `None`.
        **entries: Further entries of `result.json`.

    Returns:
        What `result.json` holds.
    """
    exported = _export(config, run, outcome, frontend, normalization)
    result = write_report(run, outcome, saved_model=exported, **entries)
    facts = {
        name: result[name] for name in ("leaks_speakers", "selects_on_test")
    }
    if any(facts.values()):
        print(overstated(**facts))
    print(f"results in {run.path}, SavedModel in {exported}")
    return result


def _export(config, run, outcome, frontend, normalization) -> str:
    """Exports once: a finished run that is run again keeps its version."""
    earlier = (run.read_json("result.json") or {}).get("saved_model")
    if earlier and pathlib.Path(earlier).exists():
        return earlier
    return str(
        export_serving(
            outcome.network,
            config.export_dir or default_export_dir(config),
            labels=outcome.predictions.label_names,
            frontend=frontend,
            normalization=normalization,
            card=ModelCard.from_result(
                dataclasses.asdict(config),
                summary(outcome),
                outcome.predictions,
            ),
        )
    )


def open_run(config) -> RunFolder:
    """The folder of a run.

    `jobs` and `deterministic` change only how the run computes; `seeds` and an
    ablation's `controls` only add runs to it, `litert` and `export_dir` only
    files, and `cache_dir` is where features wait: they may be others when the
    run goes on. `config.json` keeps the first of the latter three, so that it
    repeats that run.

    Raises:
        ValueError: The folder is that of another configuration, or a file is
            in the way of the SavedModel.
    """
    exported = pathlib.Path(config.export_dir or default_export_dir(config))
    for folder in (exported, *exported.parents):
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"`export_dir` must be a folder, but {folder} is a file. "
                f"Received: export_dir={config.export_dir!r}"
            )
    return RunFolder(config.output_dir, run_settings(config))


def default_export_dir(config) -> pathlib.Path:
    """Where the SavedModel goes unless the configuration says."""
    return pathlib.Path("saved_models") / pathlib.Path(config.output_dir).name


def run_settings(config) -> dict:
    """The fields of a configuration that a run must be resumed with."""
    settings = dataclasses.asdict(config)
    for name in ("jobs", "seeds", "controls", "deterministic"):
        settings.pop(name, None)
    file = pathlib.Path(config.output_dir) / "config.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        record = json.loads(file.read_text(encoding="utf-8"))["config"]
        for name in ("litert", "export_dir", "cache_dir"):
            if name in settings and name in record:
                settings[name] = record[name]
    return settings


def check_positive_integers(config, *names) -> None:
    """Raises `ValueError` unless these fields are integers of at least 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. Received: "
                f"{name}={getattr(config, name)}"
            )


def check_positive(config, *names) -> None:
    """Raises `ValueError` unless these fields are positive and finite."""
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ValueError(
                f"`{name}` must be positive and finite. Received: "
                f"{name}={getattr(config, name)}"
            )


def check_rates(config, *names) -> None:
    """Raises `ValueError` unless these fields are at least 0 and below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: "
                f"{name}={getattr(config, name)}"
            )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every run can be told."""

    data_dir: str = ""
    """Folder of the corpus. Without it the built-in synthetic corpus is
    used, which shows that everything works and nothing else."""
    output_dir: str = "results/run"
    """Folder of this run. A run that was stopped goes on where it was."""
    export_dir: str = ""
    """Folder for the SavedModel; default `saved_models/<name of output_dir>`
    in the working directory. No version in it is ever overwritten."""
    cache_dir: str = ".cache/features"
    """Folder of the feature cache."""
    fold: int = 1
    """Number of the fold to run; 0 runs all folds."""
    jobs: int = 1
    """Folds that train at the same time, each in a process of its own."""
    seed: int = 0
    """Seed of everything random."""
    smoke: bool = False
    """Tiny sizes and one epoch: only shows that the recipe runs."""
    skip_bad_audio: bool = False
    """Leave out files that cannot be used, and count them, instead of
    stopping."""
    deterministic: bool = False
    """Compute in one order: the same run gives the same weights, bit for bit,
    on the same machine. Takes longer."""


@dataclasses.dataclass(frozen=True)
class SeedsConfig(RunConfig):
    """What a run that can be repeated with several seeds can be told."""

    seeds: tuple[int, ...] = ()
    """Seeds to run on the same folds, each in a folder `seed_<n>` of its own,
    in place of `--seed`; one table of them is written at the end. With
    `--jobs` and a single fold they run at the same time."""

    def __post_init__(self):
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(
                f"`seeds` must be there once each. Received: seeds={self.seeds}"
            )
