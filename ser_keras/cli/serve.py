"""`ser_keras serve` and `demo`: a model for programs, and one for people."""

import dataclasses

from ser_keras.cli.command import Command


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Answers TensorFlow Serving's REST calls until it is stopped.

    Needs the extra `serve`.
    """

    model: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a SavedModel with its versions, such as saved_models/emodb;
    or a folder of several such folders."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is this machine alone; there is no
    encryption and no password."""
    port: int = 8501
    """Port to listen on."""
    poll_seconds: float = 2.0
    """Seconds between looks for new versions, which take over as they come."""


@dataclasses.dataclass(frozen=True)
class DemoConfig:
    """Opens a web page to record or upload speech, and compare two models.

    Needs the extra `demo`. Recordings stay on this machine.
    """

    models: tuple[str, ...] = dataclasses.field(
        default=(), metadata={"positional": True, "path": True}
    )
    """SavedModel folders, LiteRT files, or folders of runs. Default: the model
    that comes with the package."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is this machine alone; there is no
    encryption and no password."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    browser: bool = False
    """Open the page in a browser."""


def serve(config):
    """Serves until stopped."""
    from ser_keras.serving.server import serve as serve_model

    serve_model(
        config.model,
        host=config.host,
        port=config.port,
        poll_seconds=config.poll_seconds,
    )
    return {"served": config.model}


def demo(config):
    """Shows the page until stopped."""
    from ser_keras.serving.demo import launch

    launch(
        list(config.models) or [None],
        host=config.host,
        port=config.port,
        browser=config.browser,
    )
    return {"shown": list(config.models)}


def show(result):
    """Prints that it is over."""
    print("stopped")


SERVE = Command(ServeConfig, serve, show)
DEMO = Command(DemoConfig, demo, show)
