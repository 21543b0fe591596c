"""Client of a model server, by REST or gRPC."""

import base64
import io
import json
import os
import random
import time
import urllib.parse
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import soundfile

from ser_keras._errors import needs_extra
from ser_keras.audio.io import AudioError
from ser_keras.audio.io import load_audio

_ANSWERED = {"label", "error"}


class ServerError(RuntimeError):
    """A server cannot be reached, or its answer is an error or malformed."""


class Client:
    """Client of `ser_keras serve` or TensorFlow Serving.

    The client reads files, converts them to mono, resamples them, and sends
    16-bit WAV. Failed connections, and answers with status 429 or 503, are
    retried with exponential back-off.

    Args:
        url: `http://host:port`, `https://...`, or `grpc://host:port`; may end
            in the name of the model: `http://host:port/v1/models/emodb`.
        model: Name of the model. None asks the server, which `ser_keras serve`
            supports with a single model, and TensorFlow Serving does not.
        sample_rate: Of the model, Hz.
        batch_size: Files in a request.
        timeout: Seconds that each attempt of a request may take.
        retries: Number of retries of a request.
        back_off: Seconds before the first retry.

    Raises:
        ValueError: `url` has another form.
        ImportError: The extra `serve` is not installed.

    >>> Client("ftp://somewhere")
    Traceback (most recent call last):
        ...
    ValueError: `url` must be http://, https:// or grpc://host:port. Received...
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        sample_rate: int = 16000,
        batch_size: int = 8,
        timeout: float = 30.0,
        retries: int = 4,
        back_off: float = 0.25,
    ):
        transports: dict[str, Any] = {
            "http": _REST,
            "https": _REST,
            "grpc": _GRPC,
        }
        try:
            parts = urllib.parse.urlsplit(url)
            known = parts.scheme in transports and parts.hostname
            known = known and parts.port != 0  # It raises without a number.
        except ValueError:
            known = False
        if not known:
            raise ValueError(
                "`url` must be http://, https:// or grpc://host:port. "
                f"Received: {url!r}"
            )
        named = parts.path.strip("/").removeprefix("v1/models").strip("/")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.model = model or named or None
        self.sample_rate = sample_rate
        self.batch_size = batch_size
        self.timeout = timeout
        self.retries = retries
        self.back_off = back_off
        self._transport = transports[parts.scheme](self.url, timeout)

    def predict(
        self, files: Sequence[str | os.PathLike[str] | np.ndarray]
    ) -> list[dict[str, Any]]:
        """Classifies recordings.

        Args:
            files: List of paths to audio files of any format, or of arrays
                `(samples,)`, floats in [-1, 1] at `sample_rate`.

        Returns:
            List of one dict for each: `file` (for paths), `label`,
            `probabilities`, a dict from label to number, and `warning` where
            the server has one; or `file` and `error`,
            for a file that cannot be read or that the server refuses. If the
            server fails after its first answer, the remaining files have that
            `error`.

        Raises:
            ServerError: The server cannot be reached, timed out, has no such
                model, or its answer is malformed, before its first answer.
        """
        files = list(files)
        if self.model is None:
            self.model = self._retry(self._transport.only_model)
        rows = [{} for _ in files]
        ready = []
        for row, file in zip(rows, files, strict=True):
            try:
                if not isinstance(file, np.ndarray):
                    row["file"] = str(file)
                    file = load_audio(file, self.sample_rate)
                ready.append((row, self._wav(file)))
            except (ValueError, OSError) as error:
                row["error"] = (
                    error.reason
                    if isinstance(error, AudioError)
                    else str(error)
                )
        try:
            for i in range(0, len(ready), self.batch_size):
                self._ask(ready[i : i + self.batch_size])
        except ServerError as error:
            left = [row for row, _ in ready if not row.keys() & _ANSWERED]
            if len(left) == len(ready):
                raise
            for row in left:
                row["error"] = str(error)
        return rows

    def predict_each(
        self, files: Sequence[str | os.PathLike[str]]
    ) -> Iterator[dict[str, Any]]:
        """`predict`, batch by batch.

        Args:
            files: As of `predict`.

        Yields:
            A dict for each, as of `predict`.

        Raises:
            ServerError: As of `predict`; and of a server that fails later.
        """
        for first in range(0, len(files), self.batch_size):
            yield from self.predict(files[first : first + self.batch_size])

    def _ask(self, batch):
        try:
            answers = self._retry(
                self._transport.predict, self.model, [wav for _, wav in batch]
            )
        except _RefusedError as error:
            if len(batch) == 1:
                batch[0][0]["error"] = str(error)
                return
            # One by one, to find the file that was refused.
            for pair in batch:
                self._ask([pair])
            return
        missing = {"label", "labels", "probabilities"}.difference(*answers[:1])
        if missing or len(answers) != len(batch):
            raise ServerError(
                f"{self.url}: {self.model!r} is not a model of "
                f"`export_saved_model`. Received: {len(answers)} answers to "
                f"{len(batch)} files, without {sorted(missing)}"
            )
        for (row, _), answer in zip(batch, answers, strict=True):
            if answer.get("error"):
                row["error"] = answer["error"]
                continue
            row["label"] = answer["label"]
            if answer.get("warning"):
                row["warning"] = answer["warning"]
            row["probabilities"] = dict(
                zip(answer["labels"], answer["probabilities"], strict=True)
            )

    def _wav(self, samples):
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(
                "a waveform must be a float array (samples,). Received: "
                f"{samples.dtype}, shape {samples.shape}"
            )
        if not np.isfinite(samples).all():
            raise ValueError("a waveform must be finite. Received: NaN or inf")
        # libsndfile would scale by 32767, and change samples of 16-bit files.
        whole = np.clip(np.round(samples * 32768.0), -32768, 32767)
        file = io.BytesIO()
        soundfile.write(
            file, whole.astype("int16"), self.sample_rate, format="WAV"
        )
        return file.getvalue()

    def _retry(self, function, *arguments):
        pause = self.back_off
        for attempt in range(self.retries + 1):
            try:
                return function(*arguments)
            except _TryAgainError as error:
                if attempt == self.retries:
                    raise ServerError(
                        f"{self.url}: {error}, {attempt + 1} times"
                    ) from error
            # With jitter, so that clients do not retry at the same time.
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause *= 2
        return None

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class _TryAgainError(Exception):
    """An error after which a retry may succeed."""


class _RefusedError(Exception):
    """The server refused the content of a request."""


class _REST:
    def __init__(self, url, timeout):
        with needs_extra("`Client`", "serve"):
            import httpx
        self._httpx = httpx
        try:
            self._client = httpx.Client(base_url=url, timeout=timeout)
        except httpx.InvalidURL as error:
            raise ValueError(f"`url`: {error}. Received: {url!r}") from error
        self.close = self._client.close

    def _send(self, method, path, **arguments):
        try:
            response = self._client.request(method, path, **arguments)
        except self._httpx.TimeoutException as error:
            limit = self._client.timeout.read
            raise _TryAgainError(f"no answer within {limit} s") from error
        except self._httpx.TransportError as error:
            raise _TryAgainError(str(error) or repr(error)) from error
        if response.status_code == 200:
            try:
                return response.json()
            except ValueError as error:
                raise ServerError(
                    f"{self._client.base_url}: the answer to {path} must be "
                    "JSON; `url` must be that of a model server. Received: "
                    f"{response.text[:80]!r}"
                ) from error
        try:
            reason = str(response.json()["error"])
        except (ValueError, KeyError, TypeError):
            reason = response.text[:200].strip() or "no reason given"
        if response.status_code in (429, 502, 503, 504):
            raise _TryAgainError(f"{reason} ({response.status_code})")
        if response.status_code in (400, 413):
            raise _RefusedError(reason)
        raise ServerError(
            f"{self._client.base_url}: {reason} ({response.status_code})"
        )

    def only_model(self):
        try:
            models = self._send("GET", "/v1/models")["models"]
        except (KeyError, TypeError):  # Another kind of server.
            models = []
        except ServerError:
            models = []
        if len(models) != 1:
            raise ServerError(
                f"{self._client.base_url}: name the model, with `model=` or in "
                "the URL: http://host:port/v1/models/NAME. The server has: "
                f"{models}"
            )
        return models[0]

    def predict(self, model, wavs):
        audio = [{"b64": base64.b64encode(wav).decode()} for wav in wavs]
        body = {"signature_name": "serving_bytes", "inputs": {"audio": audio}}
        path = f"/v1/models/{urllib.parse.quote(model, safe='')}:predict"
        answer = self._send("POST", path, content=json.dumps(body))
        try:
            columns = answer["outputs"]
            # By name, each for all clips; a list for another kind of model.
            rows = [
                dict(zip(columns, row, strict=True))
                for row in zip(*columns.values(), strict=True)
            ]
            # Of our server alone, and only if there is anything to say.
            for row, warning in zip(rows, answer.get("warnings", ())):  # noqa: B905
                row["warning"] = warning
            return rows
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ServerError(
                f"{self._client.base_url}: {model!r} is not a model of "
                f"`export_saved_model`. Received: {str(answer)[:80]}"
            ) from error


class _GRPC:
    def __init__(self, url, timeout):
        with needs_extra("`Client`", "serve"):
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        self._grpc, self._tf, self._predict_pb2 = grpc, tf, predict_pb2
        self._url, self._timeout = url, timeout
        unlimited = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(
            url.removeprefix("grpc://"), options=unlimited
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )
        self.close = self._channel.close

    def only_model(self):
        raise ServerError(
            f"{self._url}: name the model, with `model=` or in the URL: "
            "grpc://host:port/NAME"
        )

    def predict(self, model, wavs):
        request = self._predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = "serving_bytes"
        tensor = self._tf.make_tensor_proto(wavs, dtype=self._tf.string)
        request.inputs["audio"].CopyFrom(tensor)
        code = self._grpc.StatusCode
        try:
            response = self._stub.Predict(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            reason = f"{error.details()} ({error.code().name})"
            if error.code() == code.INVALID_ARGUMENT:
                raise _RefusedError(reason) from error
            if error.code() in (
                code.UNAVAILABLE,
                code.RESOURCE_EXHAUSTED,
                code.DEADLINE_EXCEEDED,
            ):
                raise _TryAgainError(reason) from error
            raise ServerError(f"{self._url}: {reason}") from error
        columns = {
            key: self._tf.make_ndarray(value)
            for key, value in response.outputs.items()
        }
        try:
            return [
                {
                    "probabilities": columns["probabilities"][i].tolist(),
                    "label": columns["label"][i].decode(),
                    "labels": [name.decode() for name in columns["labels"][i]],
                    "error": columns["error"][i].decode(),
                }
                for i in range(len(wavs))
            ]
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ServerError(
                f"{self._url}: {model!r} is not a model of "
                f"`export_saved_model`. Received: outputs {sorted(columns)}"
            ) from error
