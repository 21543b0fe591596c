"""Light-SERNet: its schedules, ours and the published, and its protocols."""

import math

import pytest

import ser_keras as ser
from ser_keras.experiments import driver
from ser_keras.experiments import light_sernet
from ser_keras.experiments.driver import run_experiment
from ser_keras.experiments.light_sernet import SCHEDULES
from ser_keras.experiments.light_sernet import LightSERNetConfig
from ser_keras.experiments.light_sernet import LightSERNetExperiment
from ser_keras.optimizers.fused import FusedAdamW
from ser_keras.protocols.splits import random_folds_shared_speakers
from tests.experiments.conftest import FOLDS
from tests.experiments.conftest import MANIFEST
from tests.experiments.conftest import Begun


def test_schedules_fill_what_is_left_open():
    for schedule, values in SCHEDULES.items():
        given = LightSERNetConfig(schedule=schedule, epochs=7)
        config = given.resolved()
        assert config.epochs == 7
        open_fields = {k for k, v in vars(given).items() if v is None}
        assert open_fields | {"epochs"} == set(values)
        for name in set(values) - {"epochs"}:
            assert getattr(config, name) == values[name]


def test_published_settings_are_the_papers():
    config = LightSERNetConfig(schedule="published").resolved()
    optimizer = light_sernet.make_optimizer(config, 300, steps_per_epoch=14)
    # Adam: without decay it is the same.
    assert isinstance(optimizer, FusedAdamW) and not optimizer.decay
    assert not optimizer.use_ema
    # Keras' way of writing the schedule down, epoch by epoch.
    rate, rates = 1e-4, []
    for epoch in range(300):
        if epoch > 50 and epoch % 20 == 0:
            rate *= math.exp(-0.15)
        rates.append(rate)
    schedule = light_sernet.published_decay(1e-4, 300, 14)
    for epoch in range(300):
        for step in (14 * epoch, 14 * epoch + 13):
            assert float(schedule(step)) == pytest.approx(rates[epoch])
    assert rates[-1] == pytest.approx(1.65e-5, rel=1e-2)
    experiment = LightSERNetExperiment(config)
    assert experiment.augmentation(None) is None and not experiment.speeds()
    preprocessor = experiment.preprocessor()
    assert preprocessor.normalization is None
    assert preprocessor.frontend.compute_output_shape((None, 20000)) == (
        None,
        184,
        40,
    )
    mfcc = preprocessor.frontend.frontend
    assert mfcc.get_config() == {
        **ser.MFCC.light_sernet().get_config(),
        "name": mfcc.name,
    }


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, (184, 40)),
        ({"duration": 7.0}, (434, 40)),
        ({"features": "log_mel", "num_features": 64}, (184, 64)),
        ({"features": "spectrogram"}, (187, 129)),
    ],
)
@pytest.mark.parametrize("clips", ["whole", "fixed"])
def test_inputs(changes, shape, clips):
    config = LightSERNetConfig(clips=clips, **changes)
    preprocessor = LightSERNetExperiment(config).preprocessor()
    frames = preprocessor.duration_frames()
    assert (frames, preprocessor.num_features) == shape


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"duration": -1.0},
        {"width": 0.0},
        {"ema_momentum": 1.0},
        {"speed_range": 1.0},
        {"time_stretch": 0.5},
        {"label_smoothing": -0.1},
        {"dropout": 2.0},
        {"l2": -1.0},
        {"held_out_speakers": -1},
        {"pretrain_epochs": -1},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"duration": math.inf},
        {"time_masks": -1},
        {"weight_decay": 0.1},
        {"pretrain_corpus": "ravdess"},
        {"pretrain_dir": "/ravdess"},
    ],
)
def test_bad_configurations(changes):
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        LightSERNetConfig(**changes)


def test_weight_decay_is_adamws():
    for schedule in SCHEDULES:
        with pytest.raises(ValueError, match="optimizer='adam'"):
            LightSERNetConfig(schedule=schedule, weight_decay=0.1)
        config = LightSERNetConfig(
            schedule=schedule, weight_decay=0.1, optimizer="adamw"
        )
        optimizer = light_sernet.make_optimizer(config.resolved(), 10, 10)
        assert optimizer.decay == 0.1


def test_folds_must_be_what_the_protocol_says(tmp_path, begins):
    leaky = random_folds_shared_speakers(MANIFEST, 2)
    for protocol, folds in (
        ("speaker-independent", leaky),
        ("published", FOLDS),
    ):
        config = LightSERNetConfig(
            protocol=protocol, output_dir=str(tmp_path / "run")
        )
        with pytest.raises(ValueError, match="leaks_speakers"):
            run_experiment(config, folds)
    assert not (tmp_path / "run").exists()


def test_a_protocol_that_overstates_is_run_by_its_own_name(
    tmp_path, begins, monkeypatch
):
    given = []

    def begin(build_network, features, folds, **training):
        given.append(training["select_by"])
        raise Begun

    monkeypatch.setattr(driver, "cross_validate", begin)
    for protocol, folds in (
        ("random-folds", ser.get_protocol("random-folds").folds(MANIFEST)),
        ("published", random_folds_shared_speakers(MANIFEST, 2)),
    ):
        config = LightSERNetConfig(
            protocol=protocol, output_dir=str(tmp_path / protocol), batch_size=8
        )
        with pytest.raises(Begun):
            run_experiment(config, folds)
    assert given == ["uar", "accuracy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"held_out_speakers": 99}, "the 5 training .*speakers=99"),
        ({"batch_size": 33}, "most the 32 .*fold 'a'.*batch_size=33"),
        ({"duration": 0.01}, "duration=0.01"),
        ({"num_features": 500}, "500"),
    ],
)
def test_a_corrected_command_finds_an_empty_folder(
    tmp_path, begins, changes, message
):
    config = {"output_dir": str(tmp_path / "run")}
    with pytest.raises(ValueError, match=message):
        run_experiment(LightSERNetConfig(**config, **changes), FOLDS)
    assert not (tmp_path / "run").exists()
    with pytest.raises(Begun):
        run_experiment(LightSERNetConfig(**config), FOLDS)
