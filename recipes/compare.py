"""Baselines, Light-SERNet and emoDARTS on the same folds, in one report.

    python recipes/compare.py --corpus emodb --data-dir /corpora/emodb

scores each of the ten speakers with systems that never heard them, prints a
table with intervals and significance, and writes `report.html`. Stopped and
started again, it goes on where it was.

    python recipes/compare.py --corpus emodb --data-dir /corpora/emodb \
        --protocol speaker-groups --output-dir results/compare_groups

tests the five pairs 03 08, 09 10, 11 13, 12 14 and 15 16. Other protocols and
corpora go by the names that `ser_keras corpora list` prints.

    python recipes/compare.py --corpus emodb --data-dir /corpora/emodb \
        --systems compare_rbf egemaps_linear --runs results/emodb_light_sernet

runs two systems and puts a finished run beside them.
"""

import dataclasses
import pathlib

import ser_keras as ser

# Found on RAVDESS, so all of RAVDESS' speakers were searched on.
GENOTYPE = pathlib.Path(__file__).parent / "genotypes/ravdess.json"


@dataclasses.dataclass(frozen=True)
class Config(ser.experiments.CompareConfig):
    """Compare systems on a corpus, leave one speaker out."""

    corpus: str = "emodb"
    """Name of the corpus in `data_dir`; `ser_keras corpora list` has all."""
    genotype: str = ""
    """Genotype file of emoDARTS. Default: that of recipes/genotypes for any
    corpus but RAVDESS, on which it was found; there each fold searches."""


def main(config: Config):
    """Runs the recipe."""
    if not config.data_dir:
        config = dataclasses.replace(config, corpus="")
    elif config.corpus == "ravdess" and config.genotype:
        if ser.Genotype.load(config.genotype) == ser.Genotype.load(GENOTYPE):
            raise ValueError(
                f"{config.genotype} was found on RAVDESS, test speakers and "
                "all. Leave --genotype out: each fold then searches on its "
                "own training speakers."
            )
    if not config.genotype and config.corpus != "ravdess":
        config = dataclasses.replace(config, genotype=str(GENOTYPE))
    ser.experiments.run_compare(config)


if __name__ == "__main__":
    ser.cli.run(main, Config)
