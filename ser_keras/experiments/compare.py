"""Several systems on the same folds: a loop over experiments, one report."""

import dataclasses
import json
import pathlib
import typing

from ser_keras.audio.encoder_frames import EncoderStatistics
from ser_keras.corpora.manifest import Manifest
from ser_keras.encoders.encoder import SpeechEncoder
from ser_keras.evaluation.baselines import cross_validate_classifier
from ser_keras.evaluation.cross_validation import check_folds
from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.corpus import all_utterances
from ser_keras.experiments.corpus import chosen_folds
from ser_keras.experiments.corpus import make_folds
from ser_keras.experiments.corpus import read_corpus
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.driver import run_folds
from ser_keras.experiments.options import RUNTIME
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.output import open_run
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import config_class
from ser_keras.features.deep_features import DeepFeatures
from ser_keras.features.feature_set import FeatureSet
from ser_keras.features.preprocessor import Preprocessor
from ser_keras.features.store import digest
from ser_keras.models.hand_made import HAND_MADE
from ser_keras.protocols.leak_guard import exposed_by_search
from ser_keras.protocols.leak_guard import guard_folds
from ser_keras.protocols.protocol import get_protocol
from ser_keras.protocols.splits import Fold
from ser_keras.reports.data import read_run
from ser_keras.reports.data import read_runs
from ser_keras.reports.html import markdown
from ser_keras.reports.html import write_html
from ser_keras.reports.html import write_markdown
from ser_keras.reports.report import write_report
from ser_keras.training.run_folder import RunFolder
from ser_keras.training.runtime import Runtime

#: Systems that are a classifier of fixed features: its name, and theirs.
CLASSICAL = {
    "majority": ("majority", "none"),
    "egemaps_linear": ("linear_svm", "eGeMAPSv02"),
    "egemaps_rbf": ("rbf_svm", "eGeMAPSv02"),
    "compare_linear": ("linear_svm", "ComParE_2016"),
    "compare_rbf": ("rbf_svm", "ComParE_2016"),
    "yamnet_probe": ("logistic_regression", "yamnet"),
    "encoder_probe": ("layer_probe", "encoder"),
}
#: Options without which a system cannot be run, and how they are given.
NEEDED = {
    "yamnet_probe": ("yamnet", "YAMNet's file: --yamnet yamnet.tflite"),
    "encoder_probe": ("encoder", "a speech encoder: --encoder FOLDER"),
}
#: What is compared unless `--systems` says otherwise; an architecture drawn at
#: random is made for each seed.
COMPARED = (*CLASSICAL, *HAND_MADE, "random", "light_sernet", "emodarts")
#: Classical systems, the strongest by design first. To choose the reference by
#: its score would choose on the test speakers.
REFERENCES = (
    "encoder_probe",
    "compare_rbf",
    "compare_linear",
    "yamnet_probe",
    "egemaps_rbf",
    "egemaps_linear",
    "majority",
)
_YAMNET_EMBEDDING = "tower0/network/layer28/reduce_mean"


@dataclasses.dataclass(frozen=True)
class CompareConfig(
    CorpusOptions, FanOutOptions, RuntimeOptions, OutputOptions
):
    """Run several systems on the same folds, and report them side by side.

    Each system is trained by the recipe of `ser_keras train`, with its default
    options unless `--settings` says otherwise.
    """

    output_dir: str = "results/compare"
    """Folder of the report and, one folder each, of the systems' runs. What
    was stopped goes on where it was; what is finished is not run again."""
    protocol: str = "leave-one-speaker-out"
    """Name of the protocol; `ser_keras corpora list` has all. `speaker-groups`
    is as many groups of consecutive speakers as `--groups` says."""
    fold: int = 0
    """Number of the fold to run; 0 runs all folds."""
    systems: tuple[str, ...] = ()
    """Systems to run, by name; default all that what is given allows."""
    settings: tuple[str, ...] = ()
    """Options of the systems: OPTION=VALUE for every system that has it, or
    SYSTEM.OPTION=VALUE for one, such as light_sernet.epochs=10."""
    reference: str = ""
    """What the others are compared with: a system, or one of `--runs`.
    Default: of the classical systems that are run the strongest by design:
    encoder_probe, or else compare_rbf, where it is one of them."""
    runs: tuple[str, ...] = ()
    """Folders of finished runs on the same folds, to be reported as well."""
    yamnet: str = ""
    """YAMNet's LiteRT file, for the linear probe."""
    encoder: str = ""
    """Pre-trained speech encoder for encoder_probe, a probe of its layers: a
    folder in the layout of Hugging Face, or a model's name on its hub."""
    genotype: str = ""
    """Genotype file of emoDARTS; without it each fold searches one."""
    random_architectures: int = 1
    """How many architectures of emoDARTS' space to draw at random."""

    def __post_init__(self):
        super().__post_init__()
        # Every system that is registered can be compared.
        known = (*COMPARED, *(name for name in SYSTEMS if name not in COMPARED))
        unknown = [name for name in self.systems if name not in known]
        if unknown:
            raise ValueError(
                f"`systems` must be among {', '.join(known)}. Received: "
                f"{', '.join(unknown)}"
            )
        for name, (option, needed) in NEEDED.items():
            if name in self.systems and not getattr(self, option):
                raise ValueError(f"The system {name} needs {needed}")
        known = (*self.chosen, *self.runs)
        if self.reference and self.reference not in known:
            raise ValueError(
                f"`reference` must be among {', '.join(known)}. Received: "
                f"{self.reference}"
            )
        if self.protocol != "speaker-groups":
            get_protocol(self.protocol)
        _check_settings(self)
        for name in self.chosen:
            if name not in CLASSICAL:
                _network_config(name, self)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Systems that lack an option, unless they are asked for."""
        return tuple(
            name
            for name, (option, _) in NEEDED.items()
            if not self.systems and not getattr(self, option)
        )

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the runs to make, in order."""
        systems = self.systems or tuple(
            name for name in COMPARED if name not in self.left_out
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
            name: (_network_config(name, config), folds, None)
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
            _run_network(_network_config(name, config), folds)
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


def _system(name):
    """System of a run, and the options that make the run of it."""
    if name in HAND_MADE:
        return "hand_made", {"network": name}
    if name.startswith("random_"):
        seed = int(name.removeprefix("random_"))
        return "emodarts", {"architecture": "random", "architecture_seed": seed}
    return name, {}


def _network_config(name, config):
    """Configuration of a system's run."""
    system, options = _system(name)
    kind = config_class(system)
    folder = pathlib.Path(config.output_dir)
    options |= {
        **{
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(CorpusOptions)
        },
        "fold": 0,  # Of the folds that it is given.
        "output_dir": str(folder / name),
        "export_dir": str(folder / "saved_models" / name),
        "cache_dir": config.cache_dir,
        **{name: getattr(config, name) for name in RUNTIME},
        "encoder": config.encoder,
        "seed": config.seed,
        "smoke": config.smoke,
        "deterministic": config.deterministic,
        "final": False,
        "litert": False,
    }
    if name == "emodarts":
        options["genotype"] = config.genotype
    hints = typing.get_type_hints(kind)
    options = {k: v for k, v in options.items() if k in hints}
    for setting in config.settings:
        owner, field, text = _split(setting)
        if field in hints and owner in ("", name, system):
            options[field] = _parsed(setting, hints[field], text)
    return kind(**options)


def _split(setting):
    """System or nothing, option and value of SYSTEM.OPTION=VALUE."""
    place, equals, text = setting.partition("=")
    owner, _, field = place.rpartition(".")
    if not equals or not field:
        raise ValueError(
            "`settings` must be OPTION=VALUE or SYSTEM.OPTION=VALUE. Received: "
            f"{setting}"
        )
    return owner, field.replace("-", "_"), text


def _parsed(setting, hint, text):
    """A setting's value, of the type that the option has."""
    parts = (hint, *typing.get_args(hint))
    types = [part for part in parts if isinstance(part, type)]
    if str in types:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    choices = [
        choice
        for part in parts
        if typing.get_origin(part) is typing.Literal
        for choice in typing.get_args(part)
    ]
    if float in types:
        types.append(int)
    if value not in choices and type(value) not in types:
        name = getattr(hint, "__name__", hint)
        must = f"one of {choices}" if choices else f"of type {name}"
        raise ValueError(
            f"The value of a setting must be {must}. Received: {setting}"
        )
    return value


def _check_settings(config):
    """Raises `ValueError` for a setting of no system, or of the comparison."""
    systems = {
        name: _system(name)[0]
        for name in config.chosen
        if name not in CLASSICAL
    }
    decided = {field.name for field in dataclasses.fields(config)}
    decided |= {"export_dir", "final", "seeds"}
    for setting in config.settings:
        owner, field, _ = _split(setting)
        if field in decided:
            raise ValueError(
                "A setting must be an option that systems may differ in. The "
                f"comparison decides `{field}` for all. Received: {setting}"
            )
        owners = {
            name
            for name, system in systems.items()
            if owner in ("", name, system)
            and field in typing.get_type_hints(config_class(system))
        }
        if not owners:
            raise ValueError(
                "A setting must be an option of a system that is compared. "
                f"Received: {setting}, systems: {', '.join(systems)}"
            )


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
