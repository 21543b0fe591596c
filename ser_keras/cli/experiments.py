"""`ser_keras search`, `train`, `compare` and `tune`: whole runs.

What runs them is imported when it runs: TensorFlow takes seconds, and help and
mistakes on the command line are to be told at once.
"""

from ser_keras._errors import counted
from ser_keras.cli.command import Command
from ser_keras.experiments import registry
from ser_keras.experiments.compare_options import CompareConfig
from ser_keras.experiments.corpus import check_corpus
from ser_keras.experiments.tune_options import tune_config_class


def train_command(system: str) -> Command:
    """`ser_keras train` of a system."""
    return Command(registry.config_class(system), train, show_training)


def search_command(system: str) -> Command:
    """`ser_keras search` of a system."""
    return Command(registry.search_config_class(system), search, show_search)


def train(config):
    """Runs the experiment; what `result.json` or `ablation.json` holds."""
    check_corpus(config)
    from ser_keras.experiments.driver import run_experiment

    return {"run": config.output_dir, **run_experiment(config)}


def search(config):
    """Searches, and says where the genotype is."""
    check_corpus(config)
    from ser_keras.experiments.search import run_search

    return run_search(config)


def show_search(result):
    """Prints where the genotype is."""
    print(f"searched on speakers {', '.join(result['searched_on'])}")
    print(f"genotype in {result['genotype']}")


def show_training(result):
    """Prints the scores, and what to do next."""
    from ser_keras.export.saved_model.model import takes_waveforms
    from ser_keras.reports.data import protocol_mark
    from ser_keras.reports.data import protocol_name

    if "seeds" in result:
        print(f"the table of all seeds is in {result['run']}/seeds.md")
        return
    if "scores" not in result:
        print(f"an ablation, with its table, is in {result['run']}")
        return
    name = protocol_name(result) or "unnamed"
    print(f"protocol {name}: {protocol_mark(result)}")
    low_high = result["uar_interval_95"]
    interval = (
        "" if low_high is None else " ({:.3f} to {:.3f})".format(*low_high)
    )
    print(
        f"UAR {result['scores']['uar']:.3f}{interval}, WA "
        f"{result['scores']['wa']:.3f}, "
        f"{counted(result['scores']['n'], 'utterance')} of "
        f"{counted(len(result['scores']['per_speaker']), 'test speaker')}"
        f"{_part(result)}"
    )
    if takes_waveforms(result["saved_model"]):
        model = result["saved_model"]
        print(f"try it: ser_keras predict --model {model} FILE")
    print(served_network(result))


def _part(result):
    """Which folds a score is of, if not of all."""
    part = result.get("part")
    if not part:
        return ""
    return f", fold {', '.join(map(str, part['folds']))} of {part['of']} only"


def served_network(result):
    """Whose network a run exported, and what is known of its own score.

    >>> served_network({"final": False, "saved_model": "saved_models/a/1",
    ...                 "folds": {"03": {"uar": 0.5, "n": 9}}})
    'exported to saved_models/a/1: the network of fold 03, the only one that was
    run, whose own UAR is 0.500 on 9 utterances'
    """
    place, folds = result["saved_model"], result["folds"]
    if result["final"]:
        return (
            f"exported to {place}: a network trained on all speakers, which "
            "has no score of its own; the UAR is that of the networks of "
            f"{len(folds)} folds, trained by the same recipe"
        )
    name, scores = list(folds.items())[-1]
    which = f"the last of {len(folds)}" if len(folds) > 1 else "the only one"
    return (
        f"exported to {place}: the network of fold {name}, {which} that "
        f"{'were' if len(folds) > 1 else 'was'} run, whose own UAR is "
        f"{scores['uar']:.3f} on {counted(scores['n'], 'utterance')}"
    )


def compare(config):
    """Runs the systems; where the report is."""
    check_corpus(config)
    from ser_keras.experiments.compare import run_compare

    return {"report": str(run_compare(config))}


def tune_command(system: str) -> Command:
    """`ser_keras tune` of a system."""

    def tune(config):
        check_corpus(config)
        from ser_keras.experiments.tune import run_tune  # Needs an extra.

        result = run_tune(config)
        return {"run": config.output_dir, **(result or {"worker": True})}

    return Command(tune_config_class(system), tune, show_tuning)


def show_tuning(result):
    """Prints the scores of the best configuration."""
    if "worker" in result:
        print("no trial left for this worker")
        return
    show_training(result)


COMPARE = Command(CompareConfig, compare, lambda result: None)


def __getattr__(name):
    """`TRAIN_<SYSTEM>`, `SEARCH_<SYSTEM>` and `TUNE_<SYSTEM>`."""
    verb, _, system = name.lower().partition("_")
    if system in registry.SYSTEMS:
        if verb == "tune":
            return tune_command(system)
        if verb == "train":
            return train_command(system)
        if verb == "search" and registry.SYSTEMS[system].searches:
            return search_command(system)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
