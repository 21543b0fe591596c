from ser_keras.training.estimate import further_trainings
from ser_keras.training.estimate import seconds_left
from ser_keras.training.estimate import trainings_that_follow
from ser_keras.training.progress import EpochProgress


def log_of(epoch, epochs, pace):
    progress = EpochProgress(epochs, "train")
    lines = [
        progress.line(number, {"loss": 1.0}, [9 * pace, pace, pace])
        for number in range(1, epoch + 1)
    ]
    return "fold 1/2: test a\n" + "\n".join(lines) + "\n"


def test_time_of_all_by_the_logs_of_some():
    logs = [log_of(2, 10, 3.0), log_of(4, 10, 5.0)]
    # 30 s of the one that is farther behind, then one more round of two.
    assert seconds_left(logs, waiting=2, workers=2) == 30 + 40
    assert seconds_left(logs, waiting=0, workers=2) == 30
    assert seconds_left(logs, waiting=3, workers=2) == 30 + 2 * 40
    assert seconds_left([log_of(1, 1, 3.0)], waiting=1, workers=1) == 3


def test_no_estimate_before_the_second_epoch():
    assert seconds_left([log_of(1, 10, 3.0)], 0, 1) is None
    assert seconds_left(["reading", log_of(5, 10, 3.0)], 0, 2) is None
    assert seconds_left([], waiting=3, workers=2) is None


def test_a_line_has_the_time_of_what_follows():
    progress = EpochProgress(10, "train")
    assert "more" not in progress.line(4, {}, [9.0, 2.0])
    with further_trainings(1), further_trainings(2):
        assert trainings_that_follow() == 3
        line = progress.line(4, {}, [9.0, 2.0])
        assert line.endswith(
            "12 s left  about 1 min 12 s with 3 more trainings"
        )
        assert "more" not in EpochProgress(10).line(4, {}, [9.0, 2.0])
    assert trainings_that_follow() == 0
