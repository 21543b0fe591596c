"""`ser_keras serve` and `demo`: a model for programs, and one for people."""

import dataclasses

from ser_keras.cli.command import Command
from ser_keras.cli.predict import check_threshold


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Answers TensorFlow Serving's REST calls until it is stopped.

    Needs the extra `serve`.
    """

    model: str = dataclasses.field(metadata={"positional": True, "path": True})
    """Folder of a SavedModel with its versions, such as saved_models/emodb;
    or a folder of several such folders; or of a run, for the folder to which
    the run exported."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is this machine alone; there is no
    encryption and no password."""
    port: int = 8501
    """Port to listen on; 0 takes a free one."""
    poll_seconds: float = 2.0
    """Seconds between looks for new versions, which take over as they come."""
    request_bytes: int = 32 * 1024 * 1024
    """Longest body of a request; a longer one is refused (413)."""
    request_seconds: float = 30.0
    """From the first byte of a request to its answer (otherwise 504)."""
    waiting_clips: int = 2048
    """Clips of each signature that may wait for the model (otherwise 503)."""
    batch_clips: int = 32
    """Most clips that are computed together."""
    batch_seconds: float = 0.002
    """Seconds that a lone clip waits for company."""
    shutdown_seconds: float = 30.0
    """Seconds that running requests have after a SIGTERM."""
    threshold: float = 0.0
    """Lowest probability of an answer; below it, its label is `unsure`."""
    accuracy: float = 0.0
    """Choose `--threshold` for this accuracy of the answers in the model's
    test, on speakers that it was not trained on, such as 0.9."""

    def __post_init__(self):
        check_threshold(self)
        for name, value in self.limits().items():
            if value < 0 or (value == 0 and name != "batch_seconds"):
                raise ValueError(
                    f"`{name}` must be positive. Received: {name}={value}"
                )

    def limits(self):
        """Arguments of `ser_keras.serving.server.Limits`."""
        others = {"model", "host", "port", "poll_seconds"}
        others |= {"threshold", "accuracy"}
        fields = dataclasses.asdict(self).items()
        return {name: value for name, value in fields if name not in others}


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
    password: str = ""
    """NAME:PASSWORD that the page asks for. It is sent as it is: use a proxy
    with HTTPS where others listen."""
    root_path: str = ""
    """Path under which a proxy has the page, such as /demo."""
    threshold: float = 0.0
    """Lowest probability of an answer; below it, the answer is `unsure`."""
    accuracy: float = 0.0
    """Choose `--threshold` for this accuracy of the answers in each model's
    test, on speakers that it was not trained on, such as 0.9."""

    def __post_init__(self):
        check_threshold(self)
        name, colon, password = self.password.partition(":")
        if self.password and not (name and password):
            raise ValueError(
                "`password` must be NAME:PASSWORD, both not empty."
            )


def serve(config):
    """Serves until stopped."""
    from ser_keras.serving.confidence import chosen_threshold
    from ser_keras.serving.server import Limits
    from ser_keras.serving.server import serve as serve_model

    serve_model(
        config.model,
        host=config.host,
        port=config.port,
        poll_seconds=config.poll_seconds,
        limits=Limits(**config.limits()),
        threshold=chosen_threshold(
            config.model, config.threshold, config.accuracy
        ),
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
        password=config.password,
        root_path=config.root_path,
        threshold=config.threshold,
        accuracy=config.accuracy,
    )
    return {"shown": list(config.models)}


def show(result):
    """Prints that it is over."""
    print("stopped")


SERVE = Command(ServeConfig, serve, show)
DEMO = Command(DemoConfig, demo, show)
