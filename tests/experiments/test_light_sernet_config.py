"""Settings of a Light-SERNet run, ours and the published."""

import dataclasses
import json
import math

import docstring_parser
import pytest

import ser_keras as ser
from ser_keras.cli import parse
from ser_keras.experiments import light_sernet
from ser_keras.experiments import light_sernet_schedules as schedules
from ser_keras.optimizers.fused import FusedAdamW


def test_schedules_fill_what_is_left_open():
    for schedule, values in schedules.SCHEDULES.items():
        config = ser.experiments.LightSERNetConfig(
            schedule=schedule, epochs=7
        ).resolved()
        assert config.epochs == 7
        open_fields = [
            field.name
            for field in dataclasses.fields(config)
            if field.default is None
        ]
        assert sorted(open_fields) == sorted(values)
        for name in set(values) - {"epochs"}:
            assert getattr(config, name) == values[name]


def test_published_settings_are_the_papers():
    config = ser.experiments.LightSERNetConfig(schedule="published").resolved()
    optimizer = schedules.make_optimizer(config, 300, steps_per_epoch=14)
    # Adam: without decay it is the same.
    assert isinstance(optimizer, FusedAdamW) and not optimizer.decay
    assert not optimizer.use_ema
    # Keras' way of writing the schedule down, epoch by epoch.
    rate, rates = 1e-4, []
    for epoch in range(300):
        if epoch > 50 and epoch % 20 == 0:
            rate *= math.exp(-0.15)
        rates.append(rate)
    schedule = schedules.published_decay(1e-4, 300, 14)
    for epoch in range(300):
        for step in (14 * epoch, 14 * epoch + 13):
            assert float(schedule(step)) == pytest.approx(rates[epoch])
    assert rates[-1] == pytest.approx(1.65e-5, rel=1e-2)
    assert light_sernet.augmentation(config, 40) is None
    frontend, normalization = light_sernet.front_end(config)
    assert normalization is None
    assert frontend.compute_output_shape((None, 20000)) == (None, 184, 40)
    assert frontend.frontend.get_config() == {
        **ser.MFCC.light_sernet().get_config(),
        "name": frontend.frontend.name,
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
    config = ser.experiments.LightSERNetConfig(
        clips=clips, **changes
    ).resolved()
    frontend, _ = light_sernet.front_end(config)
    frames = light_sernet.duration_frames(config.duration, frontend)
    assert (frames, frontend.num_features) == shape


def test_every_field_is_explained(capsys):
    explained = {
        param.arg_name: param.description
        for owner in ser.experiments.LightSERNetConfig.__mro__
        if dataclasses.is_dataclass(owner)
        for param in docstring_parser.parse_from_object(owner).params
    }
    for field in dataclasses.fields(ser.experiments.LightSERNetConfig):
        assert len(explained[field.name]) > 10, field.name
        # Both values of a field with two are in its help.
        if field.default is None:
            assert "published:" in explained[field.name], field.name
    with pytest.raises(SystemExit):
        parse(ser.experiments.LightSERNetConfig, ["--help"])
    assert "moving average of the weights" in " ".join(
        capsys.readouterr().out.split()
    )
    config = parse(ser.experiments.LightSERNetConfig, ["--ema-momentum", "0.5"])
    assert config.ema_momentum == 0.5
    json.dumps(dataclasses.asdict(config))


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
    ],
)
def test_bad_configurations(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"{name}={changes[name]}"):
        ser.experiments.LightSERNetConfig(**changes)


def test_weight_decay_is_adamws():
    for schedule in schedules.SCHEDULES:
        with pytest.raises(ValueError, match="optimizer='adam'"):
            ser.experiments.LightSERNetConfig(
                schedule=schedule, weight_decay=0.1
            )
        ser.experiments.LightSERNetConfig(
            schedule=schedule, weight_decay=0.1, optimizer="adamw"
        )
