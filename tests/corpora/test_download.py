"""Against a server on this machine; no address outside is asked."""

import contextlib
import hashlib
import http.server
import io
import json
import sys
import threading
import zipfile

import numpy as np
import pytest
import soundfile

from ser_keras.cli.main import main
from ser_keras.corpora import download
from ser_keras.corpora.download import DownloadError
from ser_keras.corpora.download import download_corpus
from ser_keras.corpora.download import download_file
from ser_keras.corpora.parsers import CorpusError
from ser_keras.corpora.parsers import Source
from ser_keras.corpora.parsers import cafe
from ser_keras.corpora.parsers import corpus_names
from ser_keras.corpora.parsers import corpus_source


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`; the first `cuts` answers break off in the middle."""

    files, cuts, ranges, asked = {}, 0, True, []

    def do_GET(self):
        kind = type(self)
        kind.asked.append((self.path, self.headers.get("Range")))
        body = kind.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if kind.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"][len("bytes=") : -1])
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if kind.cuts and self.path.endswith(".zip"):
            kind.cuts -= 1
            rest = rest[: len(rest) // 2]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(rest)
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    kind = type("Fresh", (Server,), {"files": {}, "asked": []})
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    kind.url = f"http://127.0.0.1:{httpd.server_port}"
    yield kind
    httpd.shutdown()
    thread.join()
    httpd.server_close()


BODY = np.random.default_rng(0).bytes(100_000)
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


def test_whole_file(server, tmp_path):
    server.files["/a.zip"] = BODY
    path = tmp_path / "new" / "a.zip"
    download_file(MD5, f"{server.url}/a.zip", path)
    assert path.read_bytes() == BODY
    download_file(MD5, f"{server.url}/a.zip", path)
    assert server.asked == [("/a.zip", None)]
    assert [x.name for x in path.parent.iterdir()] == ["a.zip"]


def test_interrupted_transfer_goes_on(server, tmp_path):
    server.files["/a.zip"], server.cuts = BODY, 3
    path = tmp_path / "a.zip"
    download_file(MD5, f"{server.url}/a.zip", path, attempts=1)
    assert path.read_bytes() == BODY
    ranges = [header for _, header in server.asked]
    assert ranges == [None, "bytes=50000-", "bytes=75000-", "bytes=87500-"]


def test_a_later_process_goes_on(server, tmp_path):
    server.files["/a.zip"] = BODY
    (tmp_path / "a.zip.part").write_bytes(BODY[:60_000])
    download_file(MD5, f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert server.asked == [("/a.zip", "bytes=60000-")]
    (tmp_path / "b.zip.part").write_bytes(BODY)  # Killed before its check.
    download_file(MD5, f"{server.url}/a.zip", tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == BODY


def test_a_server_that_cannot_go_on_starts_again(server, tmp_path):
    server.files["/a.zip"], server.ranges = BODY, False
    (tmp_path / "a.zip.part").write_bytes(b"old")
    download_file(MD5, f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_another_file_is_not_taken(server, tmp_path):
    server.files["/a.zip"] = BODY[:-1] + b"x"
    path = tmp_path / "a.zip"
    with pytest.raises(
        DownloadError, match="a.zip.part has the md5.*published"
    ):
        download_file(MD5, f"{server.url}/a.zip", path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="a.zip has the md5"):
        download_file(MD5, f"{server.url}/a.zip", path)
    assert path.read_bytes() == b"mine"


def test_no_connection_and_no_file(server, tmp_path):
    with pytest.raises(DownloadError, match="404"):
        download_file(MD5, f"{server.url}/none.zip", tmp_path / "a.zip")
    assert len(server.asked) == 1
    (tmp_path / "a.zip.part").write_bytes(b"12")
    with pytest.raises(DownloadError, match="2 bytes are in .*a.zip.part"):
        download_file(MD5, "http://127.0.0.1:9/a.zip", tmp_path / "a.zip", 2)


def clip():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 1600)
    soundfile.write(buffer, noise, 16000, format="WAV")
    return buffer.getvalue()


@pytest.fixture
def zenodo(server, monkeypatch):
    """A record of a corpus in CaFE's layout."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("CaFE/C/01-C-2-1.wav", clip())
        file.writestr("CaFE/N/02-N-1-6.wav", clip())
    body = buffer.getvalue()
    server.files["/cafe.zip"] = body
    entry = {
        "key": "cafe.zip",
        "checksum": "md5:" + hashlib.md5(body).hexdigest(),
        "links": {"self": f"{server.url}/cafe.zip"},
    }
    server.files["/7"] = json.dumps({"files": [entry]}).encode()
    source = Source("by agreement", "its page", record="7", file="cafe.zip")
    monkeypatch.setattr(cafe, "SOURCE", source)
    monkeypatch.setattr(download, "_ZENODO", server.url)
    return server


def test_corpus_from_a_record(zenodo, tmp_path, capsys):
    zenodo.cuts = 1
    manifest = download_corpus("cafe", tmp_path / "c", accept_licence=True)
    assert [u.id for u in manifest] == ["01-C-2-1", "02-N-1-6"]
    assert "licence by agreement" in capsys.readouterr().out
    names = {x.name for x in (tmp_path / "c").iterdir()}
    assert names == {".licences.json", "CaFE"}
    asked = len(zenodo.asked)
    assert download_corpus("cafe", tmp_path / "c") == manifest
    assert len(zenodo.asked) == asked


def test_command(zenodo, tmp_path, capsys):
    argv = ["corpora", "download", "cafe", str(tmp_path)]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "licence by agreement. Page: its page" in error
    assert "--accept-licence" in error and zenodo.asked == []
    assert main([*argv, "--accept-licence"]) == 0
    assert "cafe: 2 utterances" in capsys.readouterr().out
    assert main([*argv, "--json"]) == 0  # The licence is not asked for again.
    assert json.loads(capsys.readouterr().out)["utterances"] == 2
    assert main(["corpora", "download", "tess", str(tmp_path / "t")]) == 1
    error = capsys.readouterr().err
    assert "tspace.library.utoronto.ca" in error and "CC BY-NC-ND" in error


def test_half_a_corpus_is_never_read(zenodo, tmp_path, monkeypatch):
    def killed(self, folder):
        (folder / "CaFE").mkdir(parents=True)
        (folder / "CaFE" / "01-C-2-1.wav").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", killed)
        with pytest.raises(KeyboardInterrupt):
            download_corpus("cafe", tmp_path, accept_licence=True)
    transfers = [x for x in zenodo.asked if x[0] == "/cafe.zip"]
    assert len(download_corpus("cafe", tmp_path)) == 2
    assert [x for x in zenodo.asked if x[0] == "/cafe.zip"] == transfers
    # Killed while it was moved into its place.
    (tmp_path / "CaFE/N").rename(tmp_path / "N")
    (tmp_path / ".complete").mkdir()
    (tmp_path / "N").rename(tmp_path / ".complete/N")
    assert len(download_corpus("cafe", tmp_path)) == 2
    assert not (tmp_path / ".complete").exists()


def test_licence_is_asked_for_once(zenodo, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="cafe: .*accept_licence"):
        download_corpus("cafe", tmp_path, accept_licence=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(ValueError, match="cafe: licence by agreement"):
        download_corpus("cafe", tmp_path)  # Nobody is there to answer.
    assert zenodo.asked == [] and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    questions = []
    monkeypatch.setattr(
        "builtins.input", lambda text: questions.append(text) or "yes"
    )
    body = zenodo.files.pop("/cafe.zip")
    with pytest.raises(DownloadError, match="404"):
        download_corpus("cafe", tmp_path)
    zenodo.files["/cafe.zip"] = body
    assert len(download_corpus("cafe", tmp_path)) == 2
    assert len(questions) == 1 and "by agreement" in questions[0]


def test_what_cannot_be_fetched(zenodo, tmp_path):
    with pytest.raises(ValueError, match="sail.usc.edu.*load_corpus.'iemocap'"):
        download_corpus("iemocap", tmp_path)
    with pytest.raises(ValueError, match="name='timit'"):
        download_corpus("timit", tmp_path)
    zenodo.files["/7"] = b'{"files": []}'
    with pytest.raises(DownloadError, match="no entry for cafe.zip"):
        download_corpus("cafe", tmp_path / "a", accept_licence=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(CorpusError, match="mine.txt"):
        download_corpus("cafe", tmp_path / "b", accept_licence=True)


def test_every_parser_has_a_source():
    sources = {name: corpus_source(name) for name in corpus_names()}
    assert {k for k, x in sources.items() if x is None} == {
        "audformat",
        "manifest",
    }
    automatic = {k for k, x in sources.items() if x and x.automatic}
    assert automatic == {"cafe", "emodb", "ravdess"}


def test_emodb_through_audb(tmp_path, monkeypatch):
    audb = pytest.importorskip("audb")
    audformat = pytest.importorskip("audformat")
    database = audformat.Database("emodb")
    names = ["wav/03a01Fa.wav", "wav/16b10Td.wav"]
    database["files"] = audformat.Table(audformat.filewise_index(names))
    database["files"]["x"] = audformat.Column()
    database["files"]["x"].set(["a", "b"])
    build = tmp_path / "build"
    (build / "wav").mkdir(parents=True)
    for name in names:
        (build / name).write_bytes(clip())
    database.save(build)
    host = tmp_path / "host"
    (host / "public").mkdir(parents=True)
    repository = audb.Repository("public", str(host), "file-system")
    # First of all: `publish` asks them for earlier versions.
    monkeypatch.setattr(audb.config, "REPOSITORIES", [repository])
    audb.publish(build, "1.4.1", repository, verbose=False)
    monkeypatch.setattr(audb.config, "CACHE_ROOT", str(tmp_path / "cache"))
    root = tmp_path / "emodb"
    manifest = download_corpus("emodb", root, accept_licence=True)
    assert [u.id for u in manifest] == ["03a01Fa", "16b10Td"]
    assert manifest == download_corpus("emodb", root)
    monkeypatch.setattr(audb.config, "REPOSITORIES", [])
    with pytest.raises(DownloadError, match="audb could not load emodb 1.4.1"):
        download_corpus("emodb", tmp_path / "other", accept_licence=True)
