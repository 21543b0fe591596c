import numpy as np
import pytest

from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.manifest import Utterance
from ser_keras.evaluation.predictions import Predictions

FIELDS = {
    "ids": ("a", 'b, "c"', "ü"),
    "speakers": ("03", "08", "08"),
    "sexes": ("male", None, "female"),
    "labels": [0, 2, 1],
    "probabilities": [[0.7, 0.2, 0.1], [1 / 3] * 3, [1e-9, 1, 0]],
    "label_names": ("anger", "fear", "neutral"),
}


def equal(one, other):
    return all(
        np.array_equal(getattr(one, field), getattr(other, field))
        for field in FIELDS
    )


def test_csv_round_trip_is_exact(tmp_path):
    predictions = Predictions(**FIELDS)
    predictions.save_csv(tmp_path / "new" / "predictions.csv")
    loaded = Predictions.load_csv(tmp_path / "new" / "predictions.csv")
    assert equal(loaded, predictions)
    assert [file.name for file in (tmp_path / "new").iterdir()] == [
        "predictions.csv"
    ]
    lines = (tmp_path / "new/predictions.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("id,speaker,sex,label,predicted,probability_an")
    assert lines[1].startswith("a,03,male,anger,anger,0.699999988")


def test_csv_of_another_program(tmp_path):
    file = tmp_path / "theirs.csv"
    file.write_text(
        "speaker,id,label,probability_n,probability_a\nx,1,a,0.5,0.5\n",
        encoding="utf-8-sig",
    )
    loaded = Predictions.load_csv(file)
    assert loaded.label_names == ("n", "a")
    assert loaded.labels.tolist() == [1] and loaded.sexes == (None,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns"),
        ("id,speaker,label\na,b,c\n", "must have the columns"),
        ("id,speaker,probability_a\na,b,1\n", "must have the columns"),
        ("id,speaker,label,probability_a\n", "at least one utterance"),
        ("id,speaker,label,probability_a\nu,s,b,1\n", "line 2: unknown.*'b'"),
        ("id,speaker,label,probability_a\nu,s,a,x\n", "line 2: could not"),
        ("id,speaker,label,probability_a\nu,s,a\n", "line 2: float"),
        ("id,speaker,label,probability_a\nu,s,a,2\n", "row 0 .u.*count from"),
    ],
)
def test_bad_csv_names_file_and_line(tmp_path, text, message):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"bad.csv.*{message}"):
        Predictions.load_csv(file)


def test_concatenate():
    first = Predictions(**FIELDS)
    second = Predictions(**{**FIELDS, "ids": ("x", "y", "z")})
    both = Predictions.concatenate([first, second])
    assert both.ids == first.ids + second.ids
    assert both.labels.tolist() == [0, 2, 1] * 2
    assert both.probabilities.shape == (6, 3)
    with pytest.raises(ValueError, match="6 .*a in row 3|in row 3 .a."):
        Predictions.concatenate([first, first])
    renamed = Predictions(
        **{**FIELDS, "label_names": ("fear", "anger", "neutral")}
    )
    with pytest.raises(ValueError, match="label_names"):
        Predictions.concatenate([first, renamed])
    with pytest.raises(ValueError, match="parts"):
        Predictions.concatenate([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ("a", "b", "a")}, "once.*a in row 2"),
        ({"speakers": ("a",)}, "'speakers': 1"),
        ({"labels": [0, 1, 3]}, "from 0 to 2.*3 in row 2"),
        ({"labels": [[0], [1], [2]]}, r"\(3, 1\)"),
        ({"probabilities": np.full((3, 2), 0.5)}, r"\(3, 2\)"),
        ({"probabilities": np.full((3, 3), np.nan)}, "3 wrong rows"),
        ({"probabilities": [[1.5, -0.5, 0]] * 3}, "not negative"),
        ({"probabilities": np.eye(3) * 3}, "sum to 1.*row 0 .a"),
        ({"label_names": ("a", "a", "b")}, "repeat"),
    ],
)
def test_bad_tables(change, message):
    with pytest.raises(ValueError, match=message):
        Predictions(**{**FIELDS, **change})


def test_predictions_of_another_test_part(manifest):
    fields = {
        "ids": [u.id for u in manifest],
        "speakers": [u.speaker for u in manifest],
        "sexes": [None] * 22,
        "labels": manifest.label_ids,
        "probabilities": np.full((22, 3), 1 / 3),
    }
    whole = Predictions(**fields, label_names=manifest.labels)
    whole.check_covers(manifest)
    part = {name: column[:19] for name, column in fields.items()}
    few = Predictions(**part, label_names=manifest.labels)
    with pytest.raises(ValueError, match="3 of 22 .*missing: .'u19', 'u20'"):
        few.check_covers(manifest)
    with pytest.raises(ValueError, match="3 wrong rows of 22.*row 19 .u19"):
        whole.check_covers(manifest[:19])
    labels = fields["labels"].copy()
    labels[4] = 2
    wrong = Predictions(
        **(fields | {"labels": labels}), label_names=manifest.labels
    )
    with pytest.raises(ValueError, match="neutral in row 4 .u4"):
        wrong.check_covers(manifest)


@pytest.fixture
def manifest():
    labels = ("anger", "fear", "neutral")
    return Manifest(
        [
            Utterance(
                f"u{i}", "a.wav", labels[i % 3], f"s{i % 4}", sex="female"
            )
            for i in range(22)
        ],
        labels,
    )


def test_of_a_manifest():
    manifest = Manifest(
        [
            Utterance("b", "b.wav", "neutral", "08", sex="female"),
            Utterance("a", "a.wav", "anger", "03"),
        ],
        ("neutral", "anger"),
    )
    predictions = Predictions.of(manifest, [[0.2, 0.8], [0.1, 0.9]])
    assert predictions.ids == ("b", "a")
    assert predictions.speakers == ("08", "03")
    assert predictions.sexes == ("female", None)
    assert predictions.labels.tolist() == [0, 1]
    assert predictions.label_names == ("neutral", "anger")
    predictions.check_covers(manifest)
