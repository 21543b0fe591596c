"""Options of a comparison, and what they make of each system's.

Apart from the comparison itself, whose imports take seconds.
"""

import dataclasses
import json
import pathlib
import typing

from ser_keras.experiments.corpus import CorpusOptions
from ser_keras.experiments.hand_made import HandMadeConfig
from ser_keras.experiments.options import RUNTIME
from ser_keras.experiments.options import FanOutOptions
from ser_keras.experiments.options import OutputOptions
from ser_keras.experiments.options import RuntimeOptions
from ser_keras.experiments.registry import SYSTEMS
from ser_keras.experiments.registry import config_class
from ser_keras.protocols.protocol import get_protocol

#: Networks made by hand, each of which is a system of a comparison.
HAND_MADE = typing.get_args(typing.get_type_hints(HandMadeConfig)["network"])
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
    epochs: int | None = None
    """Epochs of each network's training. Default: each system's own."""
    held_out_speakers: int | None = None
    """Training speakers of each fold who choose its epoch and the temperature
    of its probabilities. Default: each system's own."""
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
    adapt: typing.Literal["none", "speaker"] = "none"
    """`speaker`: standardise features by each speaker's own clips, without
    labels, also of those who are tested. That is another protocol, and every
    table says so. Of classical systems only: a network that is served does not
    know who speaks."""
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
        if self.adapt == "speaker":
            networks = [name for name in self.chosen if name not in CLASSICAL]
            if networks:
                raise ValueError(
                    "`adapt` must be 'none' but of classical systems, "
                    f"{', '.join(CLASSICAL)}. Received: adapt='speaker' with "
                    f"{', '.join(networks)}"
                )
        _check_settings(self)
        for name in self.chosen:
            if name not in CLASSICAL:
                network_config(name, self)

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


def _system(name):
    """System of a run, and the options that make the run of it."""
    if name in HAND_MADE:
        return "hand_made", {"network": name}
    if name.startswith("random_"):
        seed = int(name.removeprefix("random_"))
        return "emodarts", {"architecture": "random", "architecture_seed": seed}
    return name, {}


def network_config(name, config):
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
    if config.epochs is not None:
        options |= {"epochs": config.epochs, "train_epochs": config.epochs}
    if config.held_out_speakers is not None:
        options["held_out_speakers"] = config.held_out_speakers
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
    decided -= {"epochs", "held_out_speakers"}  # A setting is for one system.
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
