"""What is wrong with an emoDARTS run, found before anything is trained."""

import dataclasses

from ser_keras.experiments.pretraining import check_pretraining
from ser_keras.genotype import Genotype
from ser_keras.protocols.fold_parts import check_fold_parts
from ser_keras.protocols.splits import halves
from ser_keras.training.fit import check_search_batch


def check_published(config, published) -> None:
    """Raises `ValueError` if a field was given another value than published.

    Args:
        config: `EmoDARTSConfig`.
        published: Dict from field to published value.
    """
    defaults = {x.name: x.default for x in dataclasses.fields(config)}
    for name, value in published.items():
        if getattr(config, name) not in (value, defaults[name]):
            raise ValueError(
                f"`published` sets {name}={value!r}: leave out one of the "
                f"two. Received: {name}={getattr(config, name)!r}"
            )


def given_genotype(config) -> Genotype | None:
    """The genotype that the configuration names.

    Raises:
        ValueError: The file is broken, or the network is to have cells that
            the genotype has not, or the other way round.
    """
    if not config.genotype:
        return None
    genotype = Genotype.load(config.genotype)
    for kind, name in (
        ("normal", "num_cells"),
        ("recurrent", "num_recurrent_cells"),
    ):
        count, there = getattr(config, name), kind in genotype.cells
        if bool(count) != there:
            raise ValueError(
                f"{config.genotype} has {'a' if there else 'no'} {kind!r} "
                f"cell: `{name}` must be {'positive' if there else 0}. "
                f"Received: {name}={count}"
            )
    return genotype


def check_utterances(config, folds, features, others=None) -> None:
    """Raises `ValueError` if there is too little to search or train on.

    Args:
        config: `EmoDARTSConfig`.
        folds: List of `Fold`.
        features: `FeatureSet` of their utterances.
        others: That of another corpus to search and pretrain on.
    """
    check_fold_parts(
        folds,
        features,
        config.held_out_speakers,
        config.seed,
        config.batch_size,
    )
    if config.pretrain_epochs:
        check_pretraining(config, others.manifest)
    if config.genotype:
        return
    searched = [others]
    if others is None:
        searched = [features.select(fold.train) for fold in folds]
    for part in searched:
        check_search_batch(
            config.search_batch_size, *halves(part.manifest, seed=config.seed)
        )
