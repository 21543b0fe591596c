import asyncio
import base64
import concurrent.futures
import json
import os
import shutil
import signal
import socket
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from ser_keras.export.saved_model.export import export_saved_model
from ser_keras.export.saved_model.model import CARD
from ser_keras.export.saved_model.model import load_saved_model
from tests.forks import Program

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")

PREDICT = "/v1/models/tiny:predict"


def of_files(*files):
    """Body of a call with WAV files, in columns."""
    audio = [{"b64": base64.b64encode(file).decode()} for file in files]
    return {"signature_name": "serving_bytes", "inputs": {"audio": audio}}


@pytest.fixture
def http(server_url):
    with httpx.Client(base_url=server_url, timeout=60) as client:
        yield client


def test_equal_to_keras_in_rows_and_columns(serving, served_model, http, clips):
    model, _ = served_model
    for clip in clips[:3]:
        expected = model(clip[None])["probabilities"][0]
        label = serving.labels[int(np.argmax(expected))]
        audio = {"b64": base64.b64encode(serving.wav(clip)).decode()}
        for body in (
            {"instances": [clip.tolist()]},
            {"signature_name": "serving_bytes", "instances": [audio]},
        ):
            (row,) = http.post(PREDICT, json=body).json()["predictions"]
            np.testing.assert_allclose(
                row["probabilities"], expected, atol=1e-5
            )
            assert row["label"] == label
            assert row["labels"] == list(serving.labels)
            assert row["error"] == ""
    body = {"inputs": {"waveform": [clip.tolist()] * 2}}
    columns = http.post(PREDICT, json=body).json()["outputs"]
    np.testing.assert_allclose(
        columns["probabilities"], [expected] * 2, atol=1e-5
    )
    body = {
        "signature_name": "features",
        "instances": model.preprocessor(clip[None]).numpy().tolist(),
    }
    (row,) = http.post(PREDICT, json=body).json()["predictions"]
    np.testing.assert_allclose(row["probabilities"], expected, atol=1e-5)


def test_an_answer_does_not_depend_on_who_else_asks(
    serving, served_model, http, clips
):
    model, _ = served_model
    expected = [model(clip[None])["probabilities"][0] for clip in clips]

    def ask(i):
        clip = clips[i % len(clips)]
        if i % 3 == 0:
            body = {"inputs": [clip.tolist()]}
        elif i % 3 == 1:
            body = {
                "signature_name": "serving_lengths",
                "inputs": {
                    "waveform": [[*clip.tolist(), 0.9, 0.9]],
                    "lengths": [len(clip)],
                },
            }
        else:
            body = of_files(serving.wav(clip))
        return http.post(PREDICT, json=body).json()["outputs"]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(60)))
    for i, answer in enumerate(answers):
        np.testing.assert_allclose(
            answer["probabilities"][0], expected[i % len(clips)], atol=1e-5
        )
    metrics = http.get("/metrics").text
    assert 'ser_keras_requests_total{status="200"}' in metrics
    assert 'ser_keras_model_version{model="tiny"} 1.0' in metrics


def test_what_is_served(http):
    assert http.get("/health").status_code == 200
    assert http.get("/v1/models").json() == {"models": ["tiny"]}
    for path in ("/v1/models/tiny", "/v1/models/tiny/versions/1"):
        (row,) = http.get(path).json()["model_version_status"]
        assert (row["version"], row["state"]) == ("1", "AVAILABLE")
    facts = http.get("/v1/models/tiny/metadata").json()
    assert facts["model_spec"]["version"] == "1"
    signatures = facts["metadata"]["signature_def"]["signature_def"]
    assert set(signatures) == {
        "serving_default",
        "serving_lengths",
        "serving_bytes",
        "features",
    }
    assert signatures["serving_bytes"]["inputs"]["audio"]["dtype"] == (
        "DT_STRING"
    )


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/unknown:predict", 404),
        ("/v1/models/tiny/versions/7:predict", 404),
        ("/v1/models/tiny/versions/1:predict", 200),
        ("/v1/models/../../etc/passwd:predict", 404),
    ],
)
def test_unknown_models_and_versions(http, clips, path, status):
    body = {"instances": [clips[0].tolist()]}
    assert http.post(path, json=body).status_code == status


def test_labels_are_those_of_the_configuration(serving, served_model, clips):
    """`stable` is the version before the newest one, which is not served."""
    model, folder = served_model
    body = {"instances": [clips[0].tolist()]}
    with (
        serving.running(folder) as url,
        httpx.Client(base_url=url) as http,
    ):
        for label in ("stable", "canary"):
            place = f"/v1/models/tiny/labels/{label}"
            assert http.post(f"{place}:predict", json=body).status_code == 200
            assert "model_version_status" in http.get(place).json()
            facts = http.get(f"{place}/metadata").json()
            assert facts["model_spec"]["version"] == "1"
        response = http.get("/v1/models/tiny/labels/beta")
        assert response.status_code == 404
        assert "labels: ['canary', 'stable']" in response.json()["error"]
        facts = http.get("/v1/models/tiny/versions/1/metadata")
        assert facts.json()["model_spec"]["version"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models/tiny/version/1", 404),
        ("GET", "/v1/models/tiny/versions/x", 404),
        ("GET", "/v1/models/tiny:predict", 404),
        ("POST", "/v1/models/tiny:classify", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/models/unknown:upload", 404),
    ],
)
def test_every_error_is_json(http, method, path, status):
    response = http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]


@pytest.mark.parametrize(
    ("rate", "options", "tolerance"),
    [
        (16000, {"subtype": "PCM_24"}, 1e-4),
        (16000, {"subtype": "PCM_32"}, 1e-4),
        (16000, {"subtype": "FLOAT"}, 1e-4),
        (16000, {"subtype": "DOUBLE"}, 1e-4),
        (16000, {"format": "FLAC"}, 1e-4),
        (16000, {"format": "AIFF"}, 1e-4),
        (48000, {}, 1),  # Another signal.
        (8000, {"format": "OGG", "subtype": "VORBIS"}, 1),
    ],
)
def test_files_of_other_formats(serving, http, clips, rate, options, tolerance):
    def ask(file):
        (row,) = http.post(PREDICT, json=of_files(file)).json()["outputs"][
            "probabilities"
        ]
        return row

    found = ask(serving.wav(clips[0], rate, **options))
    assert sum(found) == pytest.approx(1, abs=1e-5)
    expected = ask(serving.wav(clips[0]))
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_files_whose_header_has_no_length(serving, http, clips):
    file = bytearray(serving.wav(clips[0]))
    expected = http.post(PREDICT, json=of_files(bytes(file))).json()
    at = file.index(b"data") + 4
    for length in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\xf0\xff\x7f"):
        file[at : at + 4] = length
        assert http.post(PREDICT, json=of_files(bytes(file))).json() == expected


def test_bad_files_are_refused_with_a_reason(serving, http, clips):
    good = serving.wav(clips[0])
    long = np.tile(clips[0], 62)
    for file, reason in (
        (b"", "empty"),
        (b"not audio" * 100, "not audio but a text file"),
        (b"<!DOCTYPE html>", "an HTML page"),
        (good[:5000], "truncated"),
        (serving.wav(np.zeros(16000)), "silent"),
        (serving.wav(long), "longer than 60 s"),
    ):
        response = http.post(PREDICT, json=of_files(file))
        assert response.status_code == 400
        assert reason in response.json()["error"]
        # Beside a good one it has the reason for itself.
        response = http.post(PREDICT, json=of_files(file, good))
        answer = response.json()["outputs"]
        assert reason in answer["error"][0]
        assert answer["error"][1] == ""
        assert answer["probabilities"][0] == [None] * 4
        assert answer["label"][0] == ""
        assert sum(answer["probabilities"][1]) == pytest.approx(1, abs=1e-5)


def test_a_form_of_a_browser(serving, http, clips):
    wav = serving.wav(clips[0])
    (expected,) = http.post(PREDICT, json=of_files(wav)).json()["outputs"][
        "probabilities"
    ]
    url = "/v1/models/tiny:upload"
    files = [("file", ("a.wav", wav)), ("file", ("b.txt", b"hello"))]
    answer = http.post(url, files=files, data={"field": "ignored"})
    assert answer.status_code == 200
    good, bad = answer.json()["files"]
    assert good["file"] == "a.wav" and good["label"] in serving.labels
    np.testing.assert_allclose(
        [good["probabilities"][label] for label in serving.labels],
        expected,
        atol=1e-5,
    )
    assert bad["file"] == "b.txt" and "a text file" in bad["error"]
    # A single file as the body, as of `curl --data-binary`.
    (row,) = http.post(url, content=wav).json()["files"]
    assert row["probabilities"] == good["probabilities"]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", "audio/wav", "must be a form"),
        (b"hello", "audio/wav", "a text file"),
        (b"--x--", "multipart/form-data", "form cannot be read"),
        (b"nonsense", "multipart/form-data; boundary=x", "form"),
    ],
)
def test_wrong_forms(http, content, kind, message):
    response = http.post(
        "/v1/models/tiny:upload",
        content=content,
        headers={"content-type": kind},
    )
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.fixture(scope="module")
def wide_url(serving, tmp_path_factory):
    """A server of a model whose training had content up to 8 kHz."""
    folder = tmp_path_factory.mktemp("wide") / "tiny"
    export_saved_model(
        serving.tiny_model(), folder, serving.labels, bandwidth=8000.0
    )
    with serving.running(folder, threshold=1.01) as url:
        yield url


def test_what_a_recording_lacks_is_said(serving, wide_url, clips):
    wide = serving.wav(clips[0])
    narrow = serving.wav(clips[0], 8000)  # Up to 4 kHz once it is resampled.
    with httpx.Client(base_url=wide_url) as http:
        answer = http.post(PREDICT, json=of_files(wide, narrow)).json()
        assert answer["warnings"][0] is None
        assert "nothing above" in answer["warnings"][1]
        assert set(answer["outputs"]) == {
            "probabilities",
            "label",
            "labels",
            "error",
        }
        assert "warnings" not in http.post(PREDICT, json=of_files(wide)).json()
        tone = np.sin(np.arange(16000) / 9).tolist()
        answer = http.post(PREDICT, json={"instances": [tone]}).json()
        assert "nothing above" in answer["warnings"][0]
        rows = http.post("/v1/models/tiny:upload", files={"f": narrow}).json()
        assert "nothing above" in rows["files"][0]["warning"]


@pytest.mark.parametrize(
    ("scale", "warning"), [(0, "silent"), (9000, "divide"), (1, None)]
)
def test_odd_samples_are_said(http, clips, scale, warning):
    samples = (clips[0] * scale).tolist()
    answer = http.post(PREDICT, json={"instances": [samples]}).json()
    assert sum(answer["predictions"][0]["probabilities"]) > 0.99
    (found,) = answer.get("warnings", [None])
    assert found is None if warning is None else warning in found


def test_answers_below_the_threshold_are_unsure(serving, wide_url, clips):
    with httpx.Client(base_url=wide_url) as http:
        wav = serving.wav(clips[0])
        answer = http.post(PREDICT, json=of_files(wav)).json()["outputs"]
        assert answer["label"] == ["unsure"]
        assert sum(answer["probabilities"][0]) == pytest.approx(1, abs=1e-5)
        rows = http.post("/v1/models/tiny:upload", files={"f": wav}).json()
        assert rows["files"][0]["label"] == "unsure"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\0" * 1000,
        b"[" * 100_000,
        b'{"instances": [[NaN, 0.5]]}',
        b'{"instances": [[1e999, 0.5]]}',
        b'{"instances": [[[0.5]]]}',
        b'{"instances": [["a"]]}',
        b'{"inputs": {"waveform": [[0.5]], "lengths": [1]}}',
        b'{"signature_name": "serving_lengths", "inputs": '
        b'{"waveform": [[0.5, 0.5]], "lengths": [3]}}',
        b'{"signature_name": "serving_lengths", "inputs": '
        b'{"waveform": [[0.5, 0.5]], "lengths": [-1]}}',
        b'{"signature_name": "features", "inputs": [[[1, 2, 3]]]}',
    ],
)
def test_wrong_requests(http, body):
    response = http.post(PREDICT, content=body)
    assert response.status_code == 400
    assert response.json()["error"]


def test_too_long_a_body_is_not_read(http):
    def endless():
        while True:
            yield bytes(1_000_000)

    for content in (bytes(100_000_000), endless()):
        # It may be refused so early that the rest cannot be sent any more.
        try:
            response = http.post(PREDICT, content=content)
            assert response.status_code == 413
        except httpx.TransportError:
            pass
    assert http.get("/health").status_code == 200


def test_a_client_that_hangs_up(serving, http, server_url, clips):
    host, port = server_url.removeprefix("http://").split(":")
    body = json.dumps(of_files(serving.wav(clips[0]))).encode()
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    for sent in (head[:20], head, head + body[:99], head + body):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(sent)
    assert http.post(PREDICT, content=body).status_code == 200


def test_a_thousand_requests_at_once(serving, server_url, clips):
    body = json.dumps(of_files(serving.wav(clips[3]))).encode()

    async def main():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=server_url, timeout=300, limits=limits
        ) as client:
            calls = (client.post(PREDICT, content=body) for _ in range(1000))
            return await asyncio.gather(*calls)

    answers = asyncio.run(main())
    statuses = [answer.status_code for answer in answers]
    # Under a load like that some may be told to come again; none is lost.
    assert set(statuses) <= {200, 503, 504}
    assert statuses.count(200) > 500
    assert len({a.content for a in answers if a.status_code == 200}) < 20


def fuzzed(rng, original):
    """A file with a broken header, cut off, of random chunks, or of noise."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.bytes(rng.integers(0, 200))
    if kind == 1:
        sizes = (0, 1, 16, 40, 2**31, 2**32 - 1)
        chunks = (
            rng.choice([b"fmt ", b"data", b"LIST", b"junk"])
            + int(rng.choice(sizes)).to_bytes(4, "little")
            + rng.bytes(rng.integers(0, 40))
            for _ in range(rng.integers(0, 80))
        )
        return b"RIFF" + rng.bytes(4) + b"WAVE" + b"".join(chunks)
    file = np.frombuffer(original, "u1").copy()
    where = rng.integers(0, 80, rng.integers(1, 6))
    file[where] = rng.integers(0, 256, len(where))
    end = rng.integers(0, len(file) + 1) if kind == 2 else None
    return file[:end].tobytes()


def test_fuzzed_files_leave_it_alive(serving, http, clips):
    """Every bad file has its own error, and no effect on the others.

    `SER_KERAS_FUZZ=100000` for more than the suite has time for.
    """
    rng = np.random.default_rng(0)
    original = serving.wav(clips[3][:4000])

    def ask(files):
        audio = [{"b64": base64.b64encode(x).decode()} for x in files]
        body = {"signature_name": "serving_bytes", "instances": audio}
        return http.post(PREDICT, json=body)

    (expected,) = ask([original]).json()["predictions"]
    count = int(os.environ.get("SER_KERAS_FUZZ", 5000))
    answered = refused = 0
    while answered + refused < count:
        files = [fuzzed(rng, original) for _ in range(100)]
        response = ask([*files, original])
        assert response.status_code == 200, response.text
        *rows, good = response.json()["predictions"]
        np.testing.assert_allclose(
            good["probabilities"], expected["probabilities"], atol=1e-5
        )
        for row in rows:
            if row["error"]:
                refused += 1
                assert row["probabilities"] == [None] * len(serving.labels)
            else:
                answered += 1
                assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert answered > count / 50 and refused > count / 2
    # Alone, a bad file is an error of the request.
    for _ in range(20):
        response = ask([rng.bytes(60)])
        assert response.status_code == 400 and response.json()["error"]
    assert ask([original]).status_code == 200


def test_a_new_version_takes_over_and_a_half_written_one_does_not(
    serving, served_model, tmp_path, clips
):
    folder = tmp_path / "tiny"
    shutil.copytree(served_model[1], folder)
    other = serving.tiny_model(seed=1)
    elsewhere = tmp_path / "elsewhere"
    export_saved_model(other, elsewhere, serving.labels, version=3)
    statuses, stop = [], threading.Event()
    with serving.running(folder, poll_seconds=0.1) as url:

        def ask():
            with httpx.Client(base_url=url, timeout=60) as client:
                while not stop.is_set():
                    body = {"instances": [clips[3].tolist()]}
                    statuses.append(client.post(PREDICT, json=body).status_code)

        def version():
            path = "/v1/models/tiny"
            rows = client.get(path).json()["model_version_status"]
            return {row["version"]: row["state"] for row in rows}

        asking = threading.Thread(target=ask)
        asking.start()
        with httpx.Client(base_url=url, timeout=60) as client:
            content = (elsewhere / "3/saved_model.pb").read_bytes()
            (folder / "3").mkdir()
            shutil.copy(elsewhere / "3/labels.json", folder / "3")
            (folder / "3/saved_model.pb").write_bytes(content[:5000])
            deadline = time.monotonic() + 60
            while "3" not in version() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert version() == {"1": "AVAILABLE", "3": "END"}
            # Deleted, it is forgotten; the message has said which file it was.
            rows = client.get("/v1/models/tiny").json()["model_version_status"]
            assert str(folder / "3") in rows[1]["status"]["error_message"]
            shutil.rmtree(folder / "3")
            while "3" in version() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert version() == {"1": "AVAILABLE"}
            shutil.copytree(elsewhere / "3", folder / "3", dirs_exist_ok=True)
            while "1" in version() and time.monotonic() < deadline:
                time.sleep(0.05)
            assert version() == {"3": "AVAILABLE"}
            stop.set()
            asking.join()
            body = {"instances": [clips[0].tolist()]}
            (row,) = client.post(PREDICT, json=body).json()["predictions"]
    np.testing.assert_allclose(
        row["probabilities"],
        other(clips[0][None])["probabilities"][0],
        atol=1e-5,
    )
    assert len(statuses) > 3
    assert set(statuses) == {200}


@pytest.fixture(scope="module")
def two_streams(tmp_path_factory):
    """A SavedModel with the inputs of two streams, and next to nothing else."""
    folder = tmp_path_factory.mktemp("models") / "two"

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 3), tf.float32, "handcrafted"),
            tf.TensorSpec((None, None, 2), tf.float32, "deep"),
        ]
    )
    def features(handcrafted, deep):
        tf.debugging.assert_greater(tf.shape(deep)[1], 1, "too few frames")
        means = (tf.reduce_mean(x, [1, 2]) for x in (handcrafted, deep))
        error = tf.fill(tf.shape(deep)[:1], "")
        return {"probabilities": tf.stack([*means], 1), "error": error}

    names = ("handcrafted_and_deep_features", "serving_default")
    signatures = {name: features.get_concrete_function() for name in names}
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures)
    facts = {"labels": ["calm", "anger"], "sample_rate": None}
    (folder / "1" / CARD).write_text(json.dumps(facts))
    return folder


def test_every_signature_that_a_model_has(
    serving, two_streams, monkeypatch, caplog
):
    from ser_keras.serving import server

    clips = [
        {"handcrafted": [[i] * 3] * 5, "deep": [[-i, -i]] * 2} for i in (1, 2)
    ]
    columns = {key: [clip[key] for clip in clips] for key in clips[0]}
    short = [{**clips[0], "deep": [[1, 1]]}]
    call = "/v1/models/two:predict"
    with serving.running(two_streams) as url, httpx.Client(base_url=url) as two:
        for name in ("handcrafted_and_deep_features", "serving_default"):
            body = {"signature_name": name, "instances": clips}
            rows = two.post(call, json=body).json()["predictions"]
            assert [row["probabilities"] for row in rows] == [[1, -1], [2, -2]]
        answer = two.post(call, json={"inputs": columns}).json()["outputs"]
        assert answer["probabilities"] == [[1, -1], [2, -2]]
        # What the model cannot take is the request's fault.
        response = two.post(call, json={"instances": short})
        assert response.status_code == 400
        assert "too few frames" in response.json()["error"]

        def broken(*arguments):
            raise KeyError("gone")

        # Anything else is said in JSON as well, and counted.
        monkeypatch.setattr(server, "run_clips", broken)
        response = two.post(call, json={"instances": clips})
        assert response.status_code == 500
        assert response.json() == {"error": "KeyError: 'gone'"}
        metrics = two.get("/metrics").text
    for status in (200, 400, 500):
        assert f'ser_keras_requests_total{{status="{status}"}}' in metrics
    assert "KeyError: 'gone'" in caplog.text


def test_no_model(serving, tmp_path):
    from ser_keras.serving.server import build_app

    with pytest.raises(FileNotFoundError, match="no versions of a SavedModel"):
        build_app(tmp_path)
    # Folds of EMO-DB are called after its speakers.
    (tmp_path / "run" / "folds" / "03").mkdir(parents=True)
    for folder in (tmp_path / "run", tmp_path / "run" / "folds"):
        with pytest.raises(FileNotFoundError, match="no versions of a Saved"):
            build_app(folder)
    result = {"saved_model": str(tmp_path / "gone" / "1")}
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    with pytest.raises(FileNotFoundError, match="where it is no more"):
        build_app(tmp_path / "run")
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(ValueError, match="no labels.json beside it"):
        build_app(tmp_path / "broken")
    (tmp_path / "broken" / "1" / CARD).write_text("{}")
    with pytest.raises(ValueError, match=r"broken/1: KeyError: 'labels'"):
        build_app(tmp_path / "broken")


def test_a_run_is_served_by_what_it_exported(serving, served_model, tmp_path):
    result = {"saved_model": str(served_model[1] / "1")}
    (tmp_path / "result.json").write_text(json.dumps(result))
    with serving.running(tmp_path) as url:
        assert httpx.get(url + "/v1/models").json() == {"models": ["tiny"]}
        assert httpx.get(url + "/health").status_code == 200


def test_a_port_in_use(served_model, capsys):
    from ser_keras.serving.server import serve

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=rf"{port}: Address already.*--port"):
            serve(served_model[1], port=port)
    assert capsys.readouterr().out == ""
    with pytest.raises(OSError, match="Choose another --port"):
        serve(served_model[1], port=70000)


SERVE = """
import sys
from ser_keras.serving.server import serve
serve(sys.argv[1], port=int(sys.argv[2]))
print("ended")
"""


def test_sigterm_under_load_loses_no_request(
    serving, served_model, clips, tmp_path
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["-c", SERVE, served_model[1], port]
    out, err = tmp_path / "out.txt", tmp_path / "err.txt"
    with open(out, "w") as stdout, open(err, "w") as stderr:
        process = Program(arguments, stdout, stderr)
    url = f"http://127.0.0.1:{port}"
    body = json.dumps(of_files(*[serving.wav(clips[0])] * 4)).encode()
    begun = threading.Semaphore(0)

    def ask(_):
        with httpx.Client(base_url=url, timeout=60) as client:
            try:  # What is connected before the signal is to be answered.
                assert client.get("/health").status_code == 200
            finally:
                begun.release()
            return client.post(PREDICT, content=body).status_code

    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            while process.poll() is None:
                try:
                    if client.get("/health").status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.1)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask, i) for i in range(16)]
            for _ in answers:
                begun.acquire()
            time.sleep(0.2)  # The requests are on their way.
            process.send_signal(signal.SIGTERM)
            statuses = [answer.result() for answer in answers]
        process.wait(timeout=60)
    finally:
        process.kill()
    assert statuses == [200] * 16
    assert process.returncode == 0, err.read_text()[-2000:]
    assert out.read_text() == f"listening on {url}\nended\n"


def test_limits(serving, served_model, clips):
    from ser_keras.serving.server import Limits

    limits = Limits(request_bytes=50_000, waiting_clips=2, batch_seconds=1.0)
    with serving.running(served_model[1], limits=limits) as url:
        with httpx.Client(base_url=url, timeout=60) as client:
            small = of_files(serving.wav(clips[3]))
            assert client.post(PREDICT, json=small).status_code == 200
            large = of_files(serving.wav(clips[2]))
            assert client.post(PREDICT, json=large).status_code == 413
            many = of_files(*[serving.wav(clips[3][:100])] * 5)
            response = client.post(PREDICT, json=many)
            assert response.status_code == 503
            assert response.headers["retry-after"]


def test_served_models_are_those_of_the_library(serving, served_model):
    assert load_saved_model(served_model[1]).labels == serving.labels
