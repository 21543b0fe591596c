"""The model card: what a model is, how good it is, and what it is not for."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ser_keras.corpora.built_in import LABELS
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import corpus_source
from ser_keras.evaluation.predictions import Predictions
from ser_keras.evaluation.scores import confidence_interval

_UNKNOWN = "Not stated."
_INTENDED = (
    "Research on speech emotion, on recordings like those of the corpus that "
    "it was trained on. It recognises what a voice sounds like, not what a "
    "person feels."
)
_LIMITS = (
    "Scores fall on other speakers, languages, microphones, rooms and noise, "
    "and on spontaneous speech where the corpus is acted. Probabilities are "
    "calibrated, if the protocol says so, on this corpus: elsewhere they may "
    "be too high or too low. Not for decisions about people; "
    "recognising emotions at work and in education is prohibited in the EU "
    "(Regulation 2024/1689, article 5(1)(f))."
)


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """Facts about an exported model, for `export_saved_model`.

    A field that is left out appears as "not stated": a model without scores
    must not look like a good one.

    Args:
        description: What the model is, in a sentence.
        corpus: What it was trained and scored on.
        protocol: How it was scored: folds, who is unseen, who chose the epoch.
        scores: Name to value, or to `(value, low, high)` with a 95 % interval.
        licence: Of the weights; the corpus' licence may restrict it.
        intended_use: What it is for.
        limits: What it is not for, where it fails.

    >>> card = ModelCard(corpus="EMO-DB", scores={"UAR": (0.71, 0.66, 0.76)})
    >>> print(card.markdown("emodb").splitlines()[0])
    # Model card: emodb
    """

    description: str = _UNKNOWN
    corpus: str = _UNKNOWN
    protocol: str = _UNKNOWN
    scores: dict = dataclasses.field(default_factory=dict)
    licence: str = _UNKNOWN
    intended_use: str = _INTENDED
    limits: str = _LIMITS

    @classmethod
    def from_run(
        cls,
        path: str | os.PathLike[str],
        final: bool | None = None,
        **fields: Any,
    ) -> ModelCard:
        """The card of a finished run.

        Args:
            path: Folder with `config.json` and `result.json`.
            final: Whether the network was trained on all speakers, if not as
                `result.json` says.
            **fields: Arguments of `ModelCard` that replace the run's.

        Raises:
            FileNotFoundError: The run has not finished, or is none.
        """
        path = pathlib.Path(path)
        if not (path / "result.json").exists():
            raise FileNotFoundError(
                f"{path} has no result.json: no run of ser_keras, or it has "
                "not finished."
            )
        config = json.loads((path / "config.json").read_text())
        result = json.loads((path / "result.json").read_text())
        table = path / "predictions.csv"
        predictions = Predictions.load_csv(table) if table.exists() else None
        if final is not None:
            result["final"] = final
        return cls.from_result(
            config.get("config", config), result, predictions, **fields
        )

    @classmethod
    def from_result(
        cls,
        config: Mapping[str, Any],
        result: Mapping[str, Any],
        predictions: Predictions | None = None,
        **fields: Any,
    ) -> ModelCard:
        """The card of a run's configuration and of what its `result.json` has.

        Args:
            config: Dict of the configuration.
            result: Dict of the result.
            predictions: `Predictions` of its test, for the interval of WA.
            **fields: Arguments of `ModelCard` that replace the run's.

        >>> result = {"scores": {"uar": 0.7, "wa": 0.75, "n": 535},
        ...           "uar_interval_95": [0.65, 0.75], "folds": {"03": {}}}
        >>> config = {"corpus": "emodb", "data_dir": "/corpora/emodb"}
        >>> card = ModelCard.from_result(config, result)
        >>> card.scores
        {'UAR': (0.7, 0.65, 0.75), 'WA': 0.75}
        >>> card.licence
        "The corpus' licence: CC0 1.0, https://creativecommons.org/..."
        """
        scores = result["scores"]
        interval = result.get("uar_interval_95") or ()
        folds = result.get("folds", {})
        named = result.get("protocol")  # A name alone in older runs.
        if isinstance(named, dict) and named.get("hash"):
            name = f"{named['name']} ({named['hash']})"
        else:
            name = str(config.get("protocol") or "held-out")
        protocol = [
            name,
            f"{scores['n']} test utterances in {len(folds)} fold(s): "
            + ", ".join(folds),
        ]
        if part := result.get("part"):
            numbers = ", ".join(map(str, part["folds"]))
            protocol.append(f"A PART OF IT: fold {numbers} of {part['of']}")
        if result.get("final"):
            protocol.append(
                "the weights are those of a network that was trained on all "
                "speakers by the same recipe, test speakers and all; the "
                "scores are those of the folds' networks, pooled"
            )
        elif len(folds) > 1:
            protocol.append(
                "the weights are those of the last fold; scores are pooled "
                "over all"
            )
        if result.get("held_out"):
            held_out = "; ".join(
                f"{', '.join(entry['speakers'])} (UAR {entry['uar']:.3f})"
                for entry in result["held_out"].values()
            )
            protocol.append(
                "training speakers who chose the epoch and the temperature, "
                f"of each fold: {held_out}"
            )
        if result.get("temperature"):
            protocol.append(
                "probabilities are calibrated: logits are divided by "
                f"{result['temperature']:.3f}, the geometric mean of the "
                "temperatures that the folds' held-out speakers gave"
            )
        if result.get("leaks_speakers"):
            protocol.append("SPEAKERS OF THE TEST ARE IN THE TRAINING")
        if result.get("selects_on_test"):
            protocol.append("THE EPOCH WAS CHOSEN ON THE TEST UTTERANCES")
        corpus, licence = _corpus_and_licence(config)
        description = _UNKNOWN
        if encoder := result.get("encoder"):
            description = (
                f"A classifier of the layers of a pre-trained speech encoder, "
                f"{encoder['name']}, in one network."
            )
            of_encoder = encoder["licence"] or "see where it came from"
            licence = (
                f"{licence} The encoder's, {encoder['source'] or 'none'}: "
                f"{of_encoder}."
            )
            if encoder["warning"]:
                protocol.append(encoder["warning"])
        if teacher := result.get("teacher"):
            protocol.append(
                "the network was pre-trained on what a classifier of layers "
                f"{', '.join(map(str, teacher['layers']))} of the speech "
                f"encoder {teacher['name']} makes of another corpus"
            )
            of_teacher = teacher["licence"] or "see where it came from"
            licence = (
                f"{licence} The encoder's, {teacher['source']}: {of_teacher}."
            )
        wa = scores["wa"]
        if predictions is not None:
            low_high = confidence_interval(predictions, "wa")
            wa = (wa, *low_high) if low_high else wa
        # Neither is in older runs.
        ece = result.get("calibration", {}).get("ece")
        scaled = result.get("temperature_scaling")
        known = {
            "description": description,
            "corpus": corpus,
            "licence": licence,
            "protocol": "; ".join(protocol) + ".",
            "scores": {
                "UAR": (scores["uar"], *interval) if interval
                else scores["uar"],
                "WA": wa,
                **({"Calibration error (ECE)": ece} if ece is not None else {}),
                **({"ECE after temperature scaling": scaled["ece_after"]}
                   if scaled and result.get("temperature") else {}),
            },
        }  # fmt: skip
        return cls(**(known | fields))

    def markdown(self, name: str, **facts: Any) -> str:
        """The card as a Markdown page.

        Args:
            name: The model's name.
            **facts: Lines of the last section, such as `labels`.

        Returns:
            A string.
        """
        scores = "\n".join(
            ["| score | value | 95 % interval |", "|---|---|---|"]
            + [_row(*item) for item in self.scores.items()]
        )
        technical = "\n".join(
            f"- {key.replace('_', ' ')}: {value}"
            for key, value in facts.items()
        )
        sections = {
            "Corpus": self.corpus,
            "Protocol": self.protocol,
            "Scores": scores
            if self.scores
            else "None stated: how good it is, is not known.",
            "Licence": self.licence,
            "Intended use": self.intended_use,
            "Limits": self.limits,
            "Technical": technical,
        }
        return f"# Model card: {name}\n\n{self.description}\n" + "".join(
            f"\n## {title}\n\n{text}\n" for title, text in sections.items()
        )


def _corpus_and_licence(config):
    """What a run's configuration tells of them."""
    name, what = config.get("corpus"), ""
    if config.get("data_dir") == "":
        name, what = "emodb", f"built-in corpus ({', '.join(LABELS)}) of "
    source = corpus_source(name) if name in corpus_names() else None
    if source is None:
        return str(name or config.get("data_dir") or _UNKNOWN), _UNKNOWN
    return (
        f"{what}{name}, {source.page}",
        f"The corpus' licence: {source.licence}.",
    )


def _row(name, value):
    if isinstance(value, int | float):
        return f"| {name} | {value:.3f} | not stated |"
    value, low, high = value
    return f"| {name} | {value:.3f} | {low:.3f} to {high:.3f} |"
