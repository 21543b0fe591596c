"""Options of tuning, apart from it, whose imports take seconds."""

import dataclasses
import functools
import typing

from ser_keras.experiments.options import Options
from ser_keras.experiments.options import check_positive_integers
from ser_keras.experiments.registry import config_class


@dataclasses.dataclass(frozen=True)
class TuneOptions(Options):
    """Tuning."""

    trials: int = 20
    """Networks to train while tuning."""
    method: typing.Literal["bayesian", "random"] = "bayesian"
    """How keras-tuner chooses the next trial."""
    trial_epochs: int = 15
    """Epochs of a trial."""

    def __post_init__(self):
        super().__post_init__()
        check_positive_integers(self, "trials", "trial_epochs")


@functools.cache
def tune_config_class(system: str) -> type:
    """Configuration of a system's tuning: its own options, and those above."""

    @dataclasses.dataclass(frozen=True)
    class TuneConfig(TuneOptions, config_class(system)):
        """Tune a system's options, then score a fold once.

        The test speakers of the fold take no part in the tuning: each trial is
        judged by held-out training speakers. `best_config.json` in the run's
        folder is the configuration that `ser_keras train SYSTEM --config`
        takes. Needs the extra `tuner`.
        """

        output_dir: str = f"results/tune_{system}"
        """Folder of this run. A run that was stopped goes on where it was."""
        fold: int = 1
        """Number of the fold on whose training speakers to tune."""

        def __post_init__(self):
            super().__post_init__()
            check_positive_integers(self, "fold", "held_out_speakers")
            if self.select != "held-out":
                raise ValueError(
                    "Tuning is a selection by held-out speakers. Received: "
                    f"select={self.select!r}"
                )
            if self.seeds:
                raise ValueError(
                    f"Tuning has one `seed`. Received: seeds={self.seeds}"
                )

        def resolved(self):
            """This configuration with `smoke` spelled out."""
            config = super().resolved()
            if not self.smoke:
                return config
            return dataclasses.replace(config, trials=2, trial_epochs=1)

    return TuneConfig
