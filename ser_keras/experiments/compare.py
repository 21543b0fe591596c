"""Several systems on the same folds: baselines, Light-SERNet, emoDARTS."""

import dataclasses
import functools
import pathlib
import typing

from ser_keras.corpora.manifest import Manifest
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.evaluation.cross_validation import check_folds
from ser_keras.evaluation.cross_validation import cross_validate
from ser_keras.evaluation.cross_validation import protocol_of
from ser_keras.experiments.common import RunConfig
from ser_keras.experiments.common import all_utterances
from ser_keras.experiments.common import check_positive_integers
from ser_keras.experiments.common import chosen_folds
from ser_keras.experiments.common import duration_frames
from ser_keras.experiments.common import open_run
from ser_keras.experiments.common import read_copies
from ser_keras.experiments.common import read_features
from ser_keras.experiments.common import run_settings
from ser_keras.experiments.emodarts import EmoDARTSConfig
from ser_keras.experiments.emodarts import augmentation
from ser_keras.experiments.emodarts import front_end
from ser_keras.experiments.emodarts import run_emodarts
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.light_sernet import run_light_sernet
from ser_keras.features.extraction import extract_features
from ser_keras.features.feature_set import FeatureSet
from ser_keras.models.hand_made import HAND_MADE
from ser_keras.models.hand_made import hand_made_network
from ser_keras.protocols.leak_guard import ExposedAudio
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.protocol import Protocol
from ser_keras.protocols.protocol import SpeakerGroups
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import Fold
from ser_keras.reports.data import read_run
from ser_keras.reports.data import read_runs
from ser_keras.reports.html import markdown
from ser_keras.reports.html import write_html
from ser_keras.reports.html import write_markdown
from ser_keras.reports.report import write_report
from ser_keras.search_space import SearchSpace
from ser_keras.training.run_folder import RunFolder

#: Systems that are a classifier of fixed features: its name, and theirs.
CLASSICAL = {
    "majority": ("majority", "none"),
    "egemaps_linear": ("linear_svm", "eGeMAPSv02"),
    "egemaps_rbf": ("rbf_svm", "eGeMAPSv02"),
    "compare_linear": ("linear_svm", "ComParE_2016"),
    "compare_rbf": ("rbf_svm", "ComParE_2016"),
    "yamnet_probe": ("logistic_regression", "yamnet"),
}
#: All systems; an architecture drawn at random is made for each seed.
SYSTEMS = (*CLASSICAL, *HAND_MADE, "random", "light_sernet", "emodarts")
#: Classical systems, the strongest by design first. To choose the reference by
#: its score would choose on the test speakers.
REFERENCES = (
    "compare_rbf",
    "compare_linear",
    "yamnet_probe",
    "egemaps_rbf",
    "egemaps_linear",
    "majority",
)
_YAMNET_EMBEDDING = "tower0/network/layer28/reduce_mean"


@dataclasses.dataclass(frozen=True)
class CompareConfig(RunConfig):
    """Run several systems on the same folds, and report them side by side.

    All networks of cells (those made by hand, random ones, emoDARTS) are
    trained alike.
    """

    output_dir: str = "results/compare"
    """Folder of the report and, one folder each, of the systems' runs. What
    was stopped goes on where it was; what is finished is not run again."""
    fold: int = 0
    """Number of the fold to run; 0 runs all folds."""
    protocol: str = "leave-one-speaker-out"
    """Name of the protocol; `ser_keras corpora list` has all. `speaker-groups`
    is as many groups of consecutive speakers as `--groups` says."""
    groups: int = 5
    """Groups of `--protocol speaker-groups`: 5 pairs of EMO-DB, 6 fours of
    RAVDESS."""
    systems: tuple[str, ...] = ()
    """Systems to run, by name; default all that what is given allows."""
    reference: str = ""
    """What the others are compared with: a system, or one of `--runs`.
    Default: of the classical systems that are run the strongest by design, so
    compare_rbf where it is one of them."""
    runs: tuple[str, ...] = ()
    """Folders of finished runs on the same folds, to be reported as well."""
    yamnet: str = ""
    """YAMNet's LiteRT file, for the linear probe."""
    genotype: str = ""
    """Genotype file of emoDARTS; without it each fold searches one."""
    random_architectures: int = 1
    """How many architectures of emoDARTS' space to draw at random."""
    features: typing.Literal["mfcc", "log_mel"] = "mfcc"
    """Features of the networks of cells."""
    filters: int = 8
    """Channels of the first cell of networks of cells."""
    recurrent_filters: int = 64
    """Channels of their recurrent cells."""
    train_epochs: int = 25
    """Epochs of networks of cells."""
    learning_rate: float = 1.5e-3
    """Their peak learning rate."""
    light_sernet_epochs: int | None = None
    """Epochs of Light-SERNet; by default, those of its own schedule."""
    held_out_speakers: int = 0
    """Training speakers of each fold who choose a network's epoch; 0 trains
    on all and keeps the last epoch."""

    def __post_init__(self):
        check_positive_integers(self, "train_epochs", "filters", "jobs")
        if self.light_sernet_epochs is not None:
            check_positive_integers(self, "light_sernet_epochs")
        unknown = [name for name in self.systems if name not in SYSTEMS]
        if unknown:
            raise ValueError(
                f"`systems` must be among {', '.join(SYSTEMS)}. Received: "
                f"{', '.join(unknown)}"
            )
        if "yamnet_probe" in self.systems and not self.yamnet:
            raise ValueError(
                "The system yamnet_probe needs YAMNet's file: --yamnet "
                "yamnet.tflite"
            )
        known = (*self.chosen, *self.runs)
        if self.reference and self.reference not in known:
            raise ValueError(
                f"`reference` must be among {', '.join(known)}. Received: "
                f"{self.reference}"
            )
        compare_protocol(self)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the runs to make, in order."""
        systems = self.systems or tuple(
            name for name in SYSTEMS if name != "yamnet_probe" or self.yamnet
        )
        numbers = range(1, self.random_architectures + 1)
        return tuple(
            run
            for name in systems
            for run in (
                [f"random_{number}" for number in numbers]
                if name == "random"
                else [name]
            )
        )


def compare_protocol(config: CompareConfig) -> Protocol:
    """The protocol that a configuration names; it makes the folds.

    Raises:
        ValueError: There is no protocol of that name.
    """
    if config.protocol == "speaker-groups":
        return SpeakerGroups(config.groups)
    return get_protocol(config.protocol)


def _in_order(config):
    """What is reported, the reference first."""
    names = [*config.chosen, *config.runs]
    of_design = [name for name in REFERENCES if name in config.chosen]
    reference = config.reference or (of_design or names)[0]
    names.remove(reference)
    return [reference, *names]


def run_compare(
    config: CompareConfig, folds: list[Fold], corpus_name: str = ""
) -> pathlib.Path:
    """Runs what is not finished, then prints and writes the report.

    `output_dir` then holds a run's folder for each system, `report.html` and
    `report.md`.

    Args:
        config: The configuration.
        folds: All folds of the corpus, of which `config.fold` picks one.
        corpus_name: What the settings of the runs call the corpus.

    Returns:
        Path of the HTML page.

    Raises:
        LeakError: The audio of a test utterance is in a training part, or was
            heard by emoDARTS' search, under whatever name; before anything
            is run.
        ValueError: The configuration, the corpus or the folders do not fit,
            or a run given is not of the same utterances; before anything is
            run.
        ModuleNotFoundError: A system needs an extra that is not installed.
    """
    folds = chosen_folds(folds, config.fold or int(config.smoke))
    test = Manifest([u for x in folds for u in x.test], folds[0].test.labels)
    for path in config.runs:
        predictions = read_run(path).predictions
        try:
            predictions.check_covers(test)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    kinds = {CLASSICAL[name][1] for name in config.chosen if name in CLASSICAL}
    extractors = {kind: _extractor(kind, config) for kind in sorted(kinds)}
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
    if not config.systems and not config.yamnet:
        print("left out: yamnet_probe, which needs --yamnet yamnet.tflite")
    searched = config.genotype if "emodarts" in config.chosen else None
    exposed = exposed_by_search(searched)
    guard_folds(folds, all_utterances(folds), exposed, config.skip_bad_audio)
    for name in config.chosen:
        print(f"--- {name}", flush=True)
        _run_system(name, config, folds, folder / name, corpus_name, extractors)
    print(markdown(read_runs(paths)))
    write_markdown(paths, folder / "report.md")
    page = write_html(paths, folder / "report.html")
    print(f"report in {page}")
    return page


def _run_system(name, config, folds, path, corpus_name, extractors):
    """Runs a system in its folder, unless it has been run there."""
    if name in CLASSICAL:
        classifier, kind = CLASSICAL[name]
        extractor = extractors[kind]
        run = RunFolder(
            path,
            {
                "system": name,
                "classifier": classifier,
                "features": extractor and extractor.settings(),
                "corpus": corpus_name,
                "data_dir": config.data_dir,
                "folds": [fold.name for fold in folds],
                "seed": config.seed,
                "skip_bad_audio": config.skip_bad_audio,
            },
        )
        work = functools.partial(
            _run_classical, classifier, extractor, config, folds, run
        )
    elif name == "light_sernet":
        named, options = protocol_of(folds), _common(config, path)
        if named and any(fold.overstates for fold in folds):
            options["protocol"] = named["name"]
        network = LightSERNetConfig(
            epochs=config.light_sernet_epochs, litert=False, **options
        )
        run = open_run(network.resolved())
        work = functools.partial(run_light_sernet, network, folds)
    else:
        network = _cell_network(name, config, path)
        settings = run_settings(network)
        if name in HAND_MADE:
            run = RunFolder(path, {"system": name, **settings})
            work = functools.partial(_run_hand_made, name, network, folds, run)
        else:
            run = RunFolder(path, settings)
            work = functools.partial(run_emodarts, network, folds)
    if run.read_json("result.json") is None:
        work()
        return
    check_folds(run, folds)
    print(f"finished before, see {path}", flush=True)


def _common(config, path):
    """Fields of every network's configuration."""
    return {
        "data_dir": config.data_dir,
        "output_dir": str(path),
        "export_dir": str(path.parent / "saved_models" / path.name),
        "cache_dir": config.cache_dir,
        "fold": 0,
        "jobs": config.jobs,
        "seed": config.seed,
        "smoke": config.smoke,
        "skip_bad_audio": config.skip_bad_audio,
        "held_out_speakers": config.held_out_speakers,
    }


def _cell_network(name, config, path):
    """How a network of cells is trained: each of them in the same way."""
    network = EmoDARTSConfig(
        genotype=config.genotype if name == "emodarts" else "",
        features=config.features,
        filters=config.filters,
        recurrent_filters=config.recurrent_filters,
        train_epochs=config.train_epochs,
        learning_rate=config.learning_rate,
        **_common(config, path),
    ).resolved()
    if not name.startswith("random_"):
        return network
    space = SearchSpace.emodarts(network.sequence, num_nodes=network.num_nodes)
    file = path.parent / "genotypes" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    space.sample(int(name.removeprefix("random_"))).save(file)
    ExposedAudio().save(file.parent)  # A random draw uses no audio.
    return dataclasses.replace(network, genotype=str(file))


def _run_hand_made(name, config, folds, run):
    frontend, normalization = front_end(config)
    features = read_features(
        config, all_utterances(folds), frontend, normalization, run
    )
    outcome = cross_validate(
        functools.partial(_hand_made_of_fold, name, config, features),
        features,
        folds,
        run=run,
        copies=read_copies(config, features.manifest, frontend, normalization),
        seed=config.seed,
        held_out_speakers=config.held_out_speakers,
        jobs=config.jobs,
        epochs=config.train_epochs,
        batch_size=config.batch_size,
        duration_frames=duration_frames(config.duration, frontend),
        learning_rate=config.learning_rate,
        augment=augmentation(config),
    )
    write_report(run, outcome, parameters=outcome.network.count_params())


def _hand_made_of_fold(name, config, features, fold, run):
    return hand_made_network(
        name,
        input_shape=(None, features.num_features, 1),
        num_classes=len(features.manifest.labels),
        num_cells=config.num_cells,
        filters=config.filters,
        recurrent_filters=config.recurrent_filters,
        dropout=config.dropout,
        drop_path_rate=config.drop_path_rate,
        # As emoDARTS' networks are built.
        stem_strides=2,
        frequency_pooling="mean",
    )


def _run_classical(classifier, extractor, config, folds, run):
    manifest = all_utterances(folds)
    if extractor is None:
        features = FeatureSet(manifest, [[[0.0]]] * len(manifest))
    else:
        features = extract_features(
            manifest,
            extractor,
            config.cache_dir,
            skip_bad_audio=config.skip_bad_audio,
        )
    outcome = cross_validate_classifier(
        classifier, features, folds, run=run, seed=config.seed
    )
    write_report(run, outcome)


def _extractor(kind, config):
    """The extractor of a classical system's features; None for none."""
    if kind == "none":
        return None
    # Both need an extra.
    if kind == "yamnet":
        from ser_keras.features.extractors.litert import LiteRTExtractor

        return LiteRTExtractor(config.yamnet, output=_YAMNET_EMBEDDING)
    from ser_keras.features.extractors.opensmile import OpenSmileExtractor

    return OpenSmileExtractor(kind, level="func")
