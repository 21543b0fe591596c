import pytest

from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import load_corpus

EVALUATION = """\
UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.600000; V:3.400000; D:2.600000 ; N:4.2;
WORKER00000037; Neutral; Neutral,; A:3.000; V:3.000; D:3.000 ; N:4.000;

UTD-IMPROV-S01A-M01-R-FF02.avi; A; A:2.600000; V:3.400000; D:NaN ; N:4.200000;
UTD-IMPROV-S06H-F06-T-FM03.avi; X; A:2.600000; V:3.400000; D:2.600000 ; N:4.2;
UTD-IMPROV-S06H-F06-S-FM04.avi; O; A:2.600000; V:3.400000; D:2.600000 ; N:4.2;
"""


@pytest.fixture(params=["Audio/", ""])
def msp_improv(tmp_path, request):
    for name in (
        "session1/S01A/P/MSP-IMPROV-S01A-F01-P-FM01.wav",
        "session1/S01A/R/MSP-IMPROV-S01A-M01-R-FF02.wav",
        "session6/S06H/T/MSP-IMPROV-S06H-F06-T-FM03.wav",
        "session6/S06H/S/MSP-IMPROV-S06H-F06-S-FM04.wav",
    ):
        path = tmp_path / f"{request.param}{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "Evalution.txt").write_text(EVALUATION)
    return tmp_path


def test_msp_improv(msp_improv):
    manifest = load_corpus("msp_improv", msp_improv)
    assert {u.id: (u.label, u.speaker, u.session, u.sex) for u in manifest} == {
        "S01A-F01-P-FM01": ("neutral", "F01", "01", "female"),
        "S01A-M01-R-FF02": ("anger", "M01", "01", "male"),
    }
    assert manifest[1].path.endswith("R/MSP-IMPROV-S01A-M01-R-FF02.wav")
    every = load_corpus("msp_improv", msp_improv, labels="all")
    assert every.counts()["other"] == 1
    read = load_corpus("msp_improv", msp_improv, scenarios="R")
    assert [u.speaker for u in read] == ["M01"]
    with pytest.raises(ValueError, match="`scenarios` must be letters"):
        load_corpus("msp_improv", msp_improv, scenarios="RX")


def test_msp_improv_bad_lines_are_named(msp_improv):
    table = msp_improv / "Evalution.txt"
    table.write_text(EVALUATION.replace("avi; A;", "avi; Z;"))
    with pytest.raises(CorpusError, match="Evalution.txt, line 4: .*Known"):
        load_corpus("msp_improv", msp_improv)
    table.write_text(EVALUATION.replace("FF02", "FF99"))
    with pytest.raises(CorpusError, match="1 of 3 .*S01A-M01-R-FF99"):
        load_corpus("msp_improv", msp_improv)
    again = "UTD-IMPROV-S01A-F01-P-FM01.avi; X; A:2.6\n"
    table.write_text(EVALUATION + again)
    with pytest.raises(
        CorpusError, match="'S01A-F01-P-FM01' .*line 1, and .*txt, line 7"
    ):
        load_corpus("msp_improv", msp_improv)


def test_msp_improv_one_clip_in_two_sessions(msp_improv):
    (first,) = msp_improv.rglob("*M01-R-FF02.wav")
    second = first.parents[3] / "session2/S01A/R" / first.name
    second.parent.mkdir(parents=True)
    second.write_text("another one")
    with pytest.raises(
        CorpusError, match="'S01A-M01-R-FF02': .*session1.* and .*session2"
    ):
        load_corpus("msp_improv", msp_improv)
