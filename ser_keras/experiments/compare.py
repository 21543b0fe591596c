"""Several systems on the same folds: a loop over experiments, one report."""

import pathlib

from ser_keras.audio.encoder_frames import EncoderStatistics
from ser_keras.corpora.manifest import Manifest
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.evaluation.cross_validation import check_folds
from ser_keras.evaluation.speaker_adaptation import adapted_to_speakers
from ser_keras.evaluation.speaker_adaptation import standardize_by_speaker
from ser_keras.experiments.compare_options import CLASSICAL
from ser_keras.experiments.compare_options import NEEDED
from ser_keras.experiments.compare_options import REFERENCES
from ser_keras.experiments.compare_options import CompareConfig
from ser_keras.experiments.compare_options import network_config
from ser_keras.experiments.corpus import all_utterances
from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.corpus import read_corpus
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.driver import run_folds
from ser_keras.experiments.output import open_run
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.store import digest
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.splits import Fold
from ser_keras.reports.data import read_run
from ser_keras.reports.data import read_runs
from ser_keras.reports.html import markdown
from ser_keras.reports.html import write_html
from ser_keras.reports.html import write_markdown
from ser_keras.reports.report import write_report
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime

_YAMNET_EMBEDDING = "tower0/network/layer28/reduce_mean"


def run_compare(
    config: CompareConfig, folds: list[Fold] | None = None
) -> pathlib.Path:
    """Runs what is not finished, then prints and writes the report.

    `output_dir` then holds a run's folder for each system, `report.html` and
    `report.md`.

    Args:
        config: The configuration.
        folds: All folds of the corpus, of which `config.fold` picks one; by
            default those of the corpus and protocol that `config` names.

    Returns:
        Path of the HTML page.

    Raises:
        LeakError: The audio of a test utterance is in a training part, or was
            in emoDARTS' search, under whatever name; before anything is run.
        ValueError: The configuration, the corpus or the folders do not fit,
            or a run given is not of the same utterances; before anything is
            run.
        ModuleNotFoundError: A system needs an extra that is not installed.
    """
    runtime = Runtime.of(config)
    runtime.start()
    config = runtime.for_this_worker(config)
    if folds is None:
        folds = make_folds(config, read_corpus(config))
    folds = chosen_folds(folds, config.fold or int(config.smoke))
    if config.adapt == "speaker":
        folds = adapted_to_speakers(folds)
    test = Manifest([u for x in folds for u in x.test], folds[0].test.labels)
    for path in config.runs:
        predictions = read_run(path).predictions
        try:
            predictions.check_covers(test)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    kinds = {CLASSICAL[name][1] for name in config.chosen if name in CLASSICAL}
    preprocessors = {
        kind: _preprocessor(kind, config) for kind in sorted(kinds)
    }
    folder = pathlib.Path(config.output_dir)
    paths = [
        folder / name if name in config.chosen else pathlib.Path(name)
        for name in _in_order(config)
    ]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(
            "Every system and every run must be named once. Received: "
            f"{', '.join(map(str, paths))}"
        )
    for name in config.left_out:
        print(f"left out: {name}, which needs {NEEDED[name][1]}")
    searched = config.genotype if "emodarts" in config.chosen else None
    exposed = exposed_by_search(searched)
    guard_folds(folds, all_utterances(folds), exposed, config.skip_bad_audio)
    if config.jobs > 1 or config.engine != "local":
        networks = {
            name: (network_config(name, config), folds, None)
            for name in config.chosen
            if name not in CLASSICAL
            and not (folder / name / "result.json").exists()
        }
        run_folds(networks, folder)
    for name in config.chosen:
        print(f"--- {name}", flush=True)
        if name in CLASSICAL:
            _run_classical(name, config, folds, preprocessors)
        else:
            _run_network(network_config(name, config), folds)
    print(markdown(read_runs(paths)))
    write_markdown(paths, folder / "report.md")
    page = write_html(paths, folder / "report.html")
    print(f"report in {page}")
    return page


def _in_order(config):
    """What is reported, the reference first."""
    names = [*config.chosen, *config.runs]
    of_design = [name for name in REFERENCES if name in config.chosen]
    reference = config.reference or (of_design or names)[0]
    names.remove(reference)
    return [reference, *names]


def _run_network(network, folds):
    """Runs a system in its folder, unless it has been run there."""
    resolved = network.resolved()
    if (pathlib.Path(network.output_dir) / "config.json").exists():
        run = open_run(resolved)
        if run.read_json("result.json") is not None:
            check_folds(run, folds)
            print(f"finished before, see {run.path}", flush=True)
            return
    run_experiment(network, folds)


def _run_classical(name, config, folds, preprocessors):
    """The same of a classifier of fixed features."""
    classifier, kind = CLASSICAL[name]
    preprocessor = preprocessors[kind]
    run = RunFolder(
        pathlib.Path(config.output_dir) / name,
        {
            "system": name,
            "classifier": classifier,
            "features": preprocessor and _settings(preprocessor),
            "corpus": config.corpus,
            "data_dir": config.data_dir,
            "folds": [fold.name for fold in folds],
            "seed": config.seed,
            "skip_bad_audio": config.skip_bad_audio,
            **({"adapt": config.adapt} if config.adapt != "none" else {}),
        },
    )
    if run.read_json("result.json") is not None:
        check_folds(run, folds)
        print(f"finished before, see {run.path}", flush=True)
        return
    manifest = all_utterances(folds)
    if preprocessor is None:
        features = FeatureSet(manifest, [[[0.0]]] * len(manifest))
    else:
        features = preprocessor.compute(
            manifest, config.cache_dir, skip_bad_audio=config.skip_bad_audio
        )
        if config.adapt == "speaker":
            features = standardize_by_speaker(features)
    outcome = cross_validate_classifier(
        classifier, features, folds, run=run, seed=config.seed
    )
    write_report(run, outcome, kind="classifier")


def _settings(preprocessor):
    """What decides a classical system's features."""
    if isinstance(preprocessor, DeepFeatures):
        return preprocessor.content
    weights = digest(preprocessor.frontend.encoder.weights)
    return {"features": preprocessor.hash, "weights": weights}


def _preprocessor(kind, config):
    """What computes a classical system's features; None for none."""
    if kind == "none":
        return None
    # All need an extra.
    if kind == "encoder":
        encoder = SpeechEncoder.from_pretrained(config.encoder)
        return Preprocessor(EncoderStatistics(encoder))
    if kind == "yamnet":
        from ser_keras.features.extractors.litert import LiteRTExtractor

        return DeepFeatures(
            LiteRTExtractor(config.yamnet, output=_YAMNET_EMBEDDING)
        )
    from ser_keras.features.extractors.opensmile import OpenSmileExtractor

    return DeepFeatures(OpenSmileExtractor(kind, level="func"))
