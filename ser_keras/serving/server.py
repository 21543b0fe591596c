"""Model server with TensorFlow Serving's REST interface."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import logging
import os
import pathlib
import signal

import numpy as np

from ser_keras._errors import needs_extra
from ser_keras.audio.io import AudioError
from ser_keras.export.saved_model.model import CARD
from ser_keras.serving.batching import Batcher
from ser_keras.serving.batching import QueueFullError
from ser_keras.serving.confidence import calibration_note
from ser_keras.serving.confidence import overstates
from ser_keras.serving.confidence import predictions_beside
from ser_keras.serving.model_versions import ModelVersions
from ser_keras.serving.model_versions import complete_versions
from ser_keras.serving.predictor import exported_by
from ser_keras.serving.recognition import UNSURE
from ser_keras.serving.recognition import Clip
from ser_keras.serving.recognition import describe
from ser_keras.serving.recognition import read_clip
from ser_keras.serving.recognition import waveform_warning
from ser_keras.serving.rest import BadRequestError
from ser_keras.serving.rest import format_outputs
from ser_keras.serving.rest import parse_predict

with needs_extra("The server", "serve"):
    import prometheus_client
    import uvicorn
    from starlette.applications import Starlette
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException
    from starlette.formparsers import MultiPartParser
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response
    from starlette.routing import Route

    from ser_keras.serving.inference import run_clips
    from ser_keras.serving.inference import split_clips
    from ser_keras.serving.inference import warm_up
    from ser_keras.serving.listening import ListeningServer
    from ser_keras.serving.listening import bind
    from ser_keras.serving.prometheus import Metrics

_LOG = logging.getLogger(__name__)
_PREFIX = "/v1/models/{name}"
_FORM = (
    "The body must be a form with one or several files (multipart/form-data), "
    "or one file."
)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits and timeouts of a server.

    Args:
        request_bytes: Largest size of a body.
        request_seconds: Time from the first byte of a request to its answer.
        waiting_clips: Largest number of waiting clips for each signature.
        batch_clips: Largest number of clips in a batch.
        batch_seconds: Time that a single clip waits for others.
        shutdown_seconds: Time for running requests after a SIGTERM.
    """

    request_bytes: int = 32 * 1024 * 1024
    request_seconds: float = 30.0
    waiting_clips: int = 2048
    batch_clips: int = 32
    batch_seconds: float = 0.002
    shutdown_seconds: float = 30.0


def serve(
    model_dir: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8501,
    *,
    poll_seconds: float = 2.0,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    threshold: float = 0.0,
) -> None:
    """Serves models until SIGTERM or Ctrl-C; running requests are finished.

    | call | answer |
    |---|---|
    | `POST /v1/models/NAME[/versions/N]:predict` | as TensorFlow Serving |
    | `GET /v1/models/NAME[/versions/N][/metadata]` | as TensorFlow Serving |
    | the same with `/labels/LABEL` | the label's version, by `model.config` |
    | `POST /v1/models/NAME:upload` | to recordings in a browser's form |
    | `GET /v1/models` | names of the models |
    | `GET /health` | 200 if every model has a version, 503 otherwise |
    | `GET /metrics` | for Prometheus |

    Files of `serving_bytes` and `:upload` are read as by `ser_keras predict`:
    WAV of any rate and encoding, FLAC, Ogg, MP3 and others. (The SavedModel
    itself, in TensorFlow Serving, takes WAV of 16 bits at its own rate.) If a
    clip has no content where the model's training had some, is silent, or has
    samples far beyond 1, `warnings` says so, beside `predictions` or `outputs`.
    Every error is JSON: `{"error": ...}`.

    The highest version is served. A new one is loaded and warmed up in parallel
    and replaces it between two requests. Clips of several requests are computed
    in one batch, without an effect on their answers. NaN becomes null. There is
    no encryption and no password; the default address is local. Serve only
    models of authors you trust: a SavedModel can read and write files. `.keras`
    files, which can do more, are never loaded.

    Args:
        model_dir: Folder of a model of `export_saved_model`, or of several; or
            of a run, for the folder to which the run exported its SavedModel.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        poll_seconds: Seconds between checks for new versions.
        limits: `Limits`.
        threshold: Lowest probability of an answer; below it, `label` is
            `"unsure"`.

    Raises:
        FileNotFoundError: There is no model in `model_dir`.
        ValueError: No version of any model can be loaded.
        OSError: Another program listens on `port`.
    """
    with bind(host, port) as listening:  # Loading models takes longer.
        app = build_app(
            model_dir,
            poll_seconds=poll_seconds,
            limits=limits,
            threshold=threshold,
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            # It waits for any number of seconds.
            timeout_graceful_shutdown=limits.shutdown_seconds,  # type: ignore[arg-type]
        )
        # uvicorn raises the signal again when it has finished, which would end
        # the process.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                ListeningServer(config).run(sockets=[listening])
        finally:
            signal.signal(signal.SIGTERM, before)


def build_app(
    model_dir,
    *,
    poll_seconds=2.0,
    limits=Limits(),  # noqa: B008 - it is frozen
    threshold=0.0,
):
    """The ASGI application of `serve`, for a server of your own.

    Args:
        model_dir: As of `serve`.
        poll_seconds: As of `serve`.
        limits: As of `serve`.
        threshold: As of `serve`.

    Returns:
        A Starlette application.

    Raises:
        FileNotFoundError: As `serve`.
        ValueError: As `serve`.
    """
    path = pathlib.Path(model_dir)
    if (path / "result.json").exists():
        path = exported_by(path).parent
    folders = [path] if complete_versions(path) else []
    if not folders and path.is_dir():
        folders = [x for x in sorted(path.iterdir()) if complete_versions(x)]
    if not folders:
        raise FileNotFoundError(
            f"{path} has no versions of a SavedModel, and no folder in it has. "
            "`ser_keras export` and `export_saved_model` write them."
        )
    return _Server(folders, poll_seconds, limits, threshold).app


class _Server:
    """Routes of the server and their common state."""

    def __init__(self, folders, poll_seconds, limits, threshold):
        self._limits = limits
        self._threshold = threshold
        self._poll_seconds = poll_seconds
        self._models = {}
        for folder in folders:
            model = ModelVersions(folder, warm_up)
            self._models[model.name] = model
            model.refresh()
        if not any(model.model for model in self._models.values()):
            reasons = [
                *(x for m in self._models.values() for x in m.failed.values())
            ]
            raise ValueError(
                f"No version in {[str(folder) for folder in folders]} can be "
                "loaded: " + ("; ".join(reasons) or f"no {CARD} beside it")
            )
        self._batchers = {}
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "model")
        self._metrics = Metrics()
        # Of the model, and of what is served under a number or a label.
        places = [
            _PREFIX + "/versions/{version:int}",
            _PREFIX + "/labels/{label}",
            _PREFIX,
        ]
        post = [
            Route(f"{place}:{verb}", method, methods=["POST"])
            for place in places
            for verb, method in (
                ("predict", self.predict),
                ("upload", self.upload),
            )
        ]
        get = [
            *(Route(f"{place}/metadata", self.metadata) for place in places),
            *(Route(place, self.status) for place in places),
            Route("/v1/models", self.names),
            Route("/health", self.health),
            Route("/metrics", self.metrics),
        ]
        self.app = Starlette(
            routes=post + get,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _no_such_call},
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, app):
        await self._refresh()
        watching = asyncio.create_task(self._watch())
        yield
        watching.cancel()
        self._executor.shutdown()

    async def _watch(self):
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self._refresh()
            except OSError as error:  # For instance, a deleted folder.
                _LOG.warning("looking for new versions: %s", error)

    async def _refresh(self):
        for model in self._models.values():
            await asyncio.to_thread(model.refresh)
            self._metrics.version.labels(model.name).set(model.version or 0)
        # Batchers of old versions end with their last clip, and free the model.
        current = [model.model for model in self._models.values()]
        self._batchers = {
            key: batcher
            for key, batcher in self._batchers.items()
            if key[0] in current
        }

    async def predict(self, request):
        """`POST /v1/models/NAME:predict`."""
        return await self._answer(request, self._predict)

    async def upload(self, request):
        """`POST /v1/models/NAME:upload`, a call of our own."""
        return await self._answer(request, self._upload)

    async def _answer(self, request, method):
        with self._metrics.seconds.time():
            try:
                status, content = await asyncio.wait_for(
                    method(request), self._limits.request_seconds
                )
            except _HTTPError as error:
                status, content = error.status, _error(error)
            except BadRequestError as error:
                status, content = 400, _error(error)
            except QueueFullError as error:
                status, content = 503, _error(f"Too many requests: {error}")
            except asyncio.TimeoutError:
                seconds = self._limits.request_seconds
                status, content = 504, _error(f"Not done within {seconds} s")
            except ClientDisconnect:
                status, content = 499, b""  # Not sent.
            except Exception as error:  # Of the server or of the model.
                _LOG.exception("%s", request.url.path)
                reason = f"{type(error).__name__}: {error}"[:500]
                status, content = 500, _error(reason)
        self._metrics.requests.labels(status).inc()
        headers = {
            503: {"retry-after": "1"},
            # Otherwise the rest of the body would have to be read.
            413: {"connection": "close"},
            504: {"connection": "close"},
        }.get(status)
        return Response(content, status, headers, "application/json")

    async def _predict(self, request):
        model = self._model(request)
        served = model.model  # It may be replaced at any await.
        body = await self._body(request)
        signatures = {
            name: function.structured_input_signature[1]
            for name, function in served.signatures.items()
        }
        # Long bodies are parsed in a thread, not to block other requests.
        parsed = (
            parse_predict(body, signatures)
            if len(body) < 1_000_000
            else await asyncio.to_thread(parse_predict, body, signatures)
        )
        name, rows, inputs = parsed
        if "audio" in inputs and "serving_lengths" in served.signatures:
            clips = await self._read(served, inputs["audio"])
            answers = await self._run(served, "serving_lengths", clips)
            warnings = [getattr(clip, "warning", None) for clip in clips]
        else:
            name, clips = split_clips(name, inputs)
            answers = await self._run(served, name, clips)
            warnings = await self._warnings(served, clips)
        errors = [answer["error"] for answer in answers]
        if all(errors):
            reasons = "; ".join(
                f"clip {i}: {error.decode('utf-8', 'replace')}"
                for i, error in enumerate(errors[:5])
            )
            raise _HTTPError(400, reasons)
        outputs = {
            key: np.stack([answer[key] for answer in answers])
            for key in answers[0]
        }
        return 200, format_outputs(outputs, rows, warnings)

    async def _upload(self, request):
        served = self._model(request).model
        if "serving_lengths" not in served.signatures:
            raise BadRequestError("The model takes features, not recordings.")
        files = await _files_of(request, await self._body(request))
        clips = await self._read(served, [content for _, content in files])
        answers = await self._run(served, "serving_lengths", clips)
        rows = []
        for (name, _), clip, answer in zip(files, clips, answers, strict=True):
            row = {"file": name}
            if answer["error"]:
                row["error"] = answer["error"].decode("utf-8", "replace")
            else:
                row |= describe(
                    served.labels, answer["probabilities"], self._threshold
                )
                row |= clip.facts()
                row["reliability"] = calibration_note(
                    float(answer["probabilities"].max()),
                    *_tested(str(served.path)),
                )
            rows.append(row)
        content = {"labels": list(served.labels), "files": rows}
        if all("error" in row for row in rows):
            content["error"] = "; ".join(
                f"{row['file']}: {row['error']}" for row in rows[:5]
            )
        return 400 if "error" in content else 200, json.dumps(content).encode()

    async def _read(self, served, files):
        """A `Clip` of each file, or the `AudioError` of one."""

        def read(content):
            try:
                return read_clip(served, content)
            except AudioError as error:
                return error

        return await asyncio.gather(
            *(asyncio.to_thread(read, content) for content in files)
        )

    async def _run(self, served, name, clips):
        """Answers of a signature to clips, some of which may be errors."""
        # Features of different lengths cannot share a batch.
        batcher = self._batcher(served, name, isinstance(clips[0], dict))

        async def run(clip):
            if isinstance(clip, AudioError):
                return _refusal(served.labels, clip.reason)
            if isinstance(clip, Clip):
                clip = clip.waveform
            answer = await batcher.submit(clip)
            probabilities = answer["probabilities"]
            if probabilities.max() < self._threshold:
                answer = answer | {"label": UNSURE.encode()}
            return answer

        return await asyncio.gather(*map(run, clips))

    async def _warnings(self, served, clips):
        """A warning, or None, of each waveform."""
        if not isinstance(clips[0], np.ndarray):
            return ()  # Features.
        return await asyncio.to_thread(
            lambda: [waveform_warning(served, clip) for clip in clips]
        )

    def _batcher(self, served, signature, alone):
        key = (served, signature)
        if key not in self._batchers:
            self._batchers[key] = Batcher(
                lambda clips: run_clips(served, signature, clips),
                self._executor,
                max_batch=1 if alone else self._limits.batch_clips,
                max_delay=self._limits.batch_seconds,
                max_queue=self._limits.waiting_clips,
                observe=self._metrics.batch.observe,
            )
        return self._batchers[key]

    async def _body(self, request):
        limit = self._limits.request_bytes
        too_large = _HTTPError(413, f"The body is longer than {limit} bytes")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)

    def _model(self, request):
        name = request.path_params["name"]
        version = request.path_params.get("version")
        label = request.path_params.get("label")
        model = self._models.get(name)
        if model is None:
            raise _HTTPError(
                404, f"No model {name[:100]!r}; models: {sorted(self._models)}"
            )
        if model.version is None:
            raise _HTTPError(503, f"No version of {name} can be loaded")
        if label is not None:
            labels = model.labels()
            if label not in labels:
                raise _HTTPError(
                    404,
                    f"No label {label[:100]!r} of {name}; labels: "
                    f"{sorted(labels)}",
                )
            version = labels[label]
        if version not in (None, model.version):
            raise _HTTPError(
                404, f"Version {version} is not served; {model.version} is"
            )
        return model

    async def status(self, request):
        """`GET /v1/models/NAME`."""
        return self._get(request, lambda model: model.status())

    async def metadata(self, request):
        """`GET /v1/models/NAME/metadata`."""
        return self._get(request, lambda model: model.metadata())

    def _get(self, request, answer):
        try:
            content = answer(self._model(request))
        except _HTTPError as error:
            return Response(
                _error(error), error.status, media_type="application/json"
            )
        return Response(json.dumps(content), media_type="application/json")

    async def names(self, request):
        """`GET /v1/models`, which TensorFlow Serving does not have."""
        content = json.dumps({"models": sorted(self._models)})
        return Response(content, media_type="application/json")

    async def health(self, request):
        """`GET /health`."""
        if all(model.model for model in self._models.values()):
            return Response("ok\n")
        return Response("a model has no version\n", 503)

    async def metrics(self, request):
        """`GET /metrics`."""
        waiting = sum(map(len, self._batchers.values()))
        self._metrics.waiting.set(waiting)
        return Response(
            prometheus_client.generate_latest(self._metrics.registry),
            media_type=prometheus_client.CONTENT_TYPE_LATEST,
        )


class _HTTPError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


async def _no_such_call(request, error):
    """The error of a path or method that there is not."""
    content = _error(
        f"{error.detail}: {request.method} {request.url.path}. There are "
        "POST /v1/models/NAME:predict and :upload, GET /v1/models/NAME and "
        "/v1/models/NAME/metadata, each also with /versions/N or /labels/LABEL "
        "after NAME, and GET /v1/models, /health and /metrics."
    )
    return Response(
        content, error.status_code, error.headers, "application/json"
    )


async def _files_of(request, body):
    """Name and content of each file of a form; or of the body itself."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        if not body:
            raise BadRequestError(_FORM)
        return [("recording", body)]

    async def stream():
        yield body

    try:
        form = await MultiPartParser(request.headers, stream()).parse()
    except (MultiPartException, KeyError) as error:
        raise BadRequestError(f"The form cannot be read: {error}.") from None
    files = [
        (value.filename or "recording", await value.read())
        for _, value in form.multi_items()
        if isinstance(value, UploadFile)
    ]
    await form.close()
    if not files:
        raise BadRequestError(_FORM)
    return files


@functools.lru_cache(maxsize=8)
def _tested(path):
    """A model's test, and whether its protocol overstates."""
    return predictions_beside(path), overstates(path)


def _refusal(labels, reason):
    """Outputs of `serving_bytes` for a file that cannot be used."""
    return {
        "probabilities": np.full(len(labels), np.nan, "float32"),
        "label": b"",
        "labels": np.array([label.encode() for label in labels], object),
        "error": reason.encode(),
    }


def _error(message):
    return json.dumps({"error": str(message)}).encode()
