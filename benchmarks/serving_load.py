"""Our server under load: clips a second, latency, and where the time goes.

A server process and a load generator share the machine over loopback. Each
client sends one 3-s WAV file after the other and waits for its answer; a lone
client first, then many at once. Shown are clips a second, percentiles of the
latency, errors, and the processor time that a clip costs the server and the
generator: the latter two say what an idle machine would do, which on a busy
one the clock does not.

    python benchmarks/serving_load.py [--clients 64] [--seconds 20]

The network is Light-SERNet of the published size, with random weights and
random statistics of its batch normalisation: as fast as a trained one.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from recording import add_record_argument  # noqa: E402
from recording import measurement  # noqa: E402
from recording import record  # noqa: E402

RATE, SECONDS, CLASSES = 16000, 3, 7
SERVER = """
import sys
sys.path.insert(0, {root!r})
from ser_keras.serving.server import serve
serve({folder!r}, port={port})
"""


def export(folder):
    """Writes Light-SERNet with random weights and its front end."""
    import ser_keras

    network = ser_keras.LightSERNet((None, 40, 1), num_classes=CLASSES)
    rng = np.random.default_rng(0)
    for variable in network.variables:
        if "norm" in variable.path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    ser_keras.export_saved_model(
        network,
        folder,
        [f"class {i}" for i in range(CLASSES)],
        ser_keras.Preprocessor(
            ser_keras.MFCC.light_sernet(), ser_keras.UtteranceNormalization()
        ),
    )


def bodies(count):
    """Requests with a WAV file of noise each."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        noise = rng.integers(-3000, 3000, RATE * SECONDS, "int16")
        file = io.BytesIO()
        soundfile.write(file, noise, RATE, format="WAV")
        audio = {"b64": base64.b64encode(file.getvalue()).decode()}
        request = {"signature_name": "serving_bytes", "instances": [audio]}
        yield json.dumps(request).encode()


async def load(port, clients, seconds, requests):
    """Latencies in seconds of all answers, and the number of errors."""
    latencies, errors = [], 0
    path = "/v1/models/light:predict"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\n"
    )
    end = time.perf_counter() + seconds

    # Plain sockets: a full HTTP client takes as long as the server does.
    async def client(number):
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            body = requests[number % len(requests)]
            number += 1
            start = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            writer.write(body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            fields = answer.lower().split(b"content-length:")[1]
            content = await reader.readexactly(int(fields.split(b"\r")[0]))
            latencies.append(time.perf_counter() - start)
            if b" 200 " not in answer[:20] or b'"error":""' not in content:
                errors += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(client, range(clients)))
    return latencies, errors


def processor_seconds(pid):
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ")[1]
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def report(name, port, pid, clients, seconds, requests):
    """Runs and prints one load; returns its measurements."""
    before = processor_seconds(pid)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    latencies, errors = asyncio.run(load(port, clients, seconds, requests))
    elapsed = time.perf_counter() - start
    count = len(latencies)
    server = (processor_seconds(pid) - before) / count
    after = resource.getrusage(resource.RUSAGE_SELF)
    own = (
        after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    ) / count
    p50, p99 = np.percentile(latencies, [50, 99])
    print(
        f"{name:>12s}{count / elapsed:10.1f}{1e3 * p50:9.1f}{1e3 * p99:9.1f}"
        f"{errors:8d}{1e3 * server:11.2f}{1e3 * own:11.2f}",
        flush=True,
    )
    of = f"{name} clients" if clients > 1 else "one client"
    return [
        measurement(of, "throughput", count / elapsed, "clips/s"),
        measurement(of, "latency, median", float(1e3 * p50), "ms"),
        measurement(of, "latency, 99th percentile", float(1e3 * p99), "ms"),
        measurement(of, "errors", errors, ""),
        measurement(of, "processor time of a clip", 1e3 * server, "ms"),
    ]


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    add_record_argument(parser)
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp()) / "light"
    export(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = SERVER.format(root=str(ROOT), folder=str(folder), port=port)
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        while True:
            assert process.poll() is None, "the server has ended"
            try:
                if http.get("/health").is_success:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        requests = list(bodies(16))
        asyncio.run(load(port, arguments.clients, 2.0, requests))  # Warms up.
        print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        print(
            f"{'clients':>12s}{'clips/s':>10s}{'p50 ms':>9s}{'p99 ms':>9s}"
            f"{'errors':>8s}{'server ms':>11s}{'load ms':>11s}"
        )
        shared = (port, process.pid)
        rows = []
        for clients in (1, arguments.clients):
            rows += report(
                str(clients), *shared, clients, arguments.seconds, requests
            )
        metrics = http.get("/metrics").text
        facts = dict(
            line.rsplit(" ", 1)
            for line in metrics.splitlines()
            if line[0] != "#"
        )
        batches = float(facts["ser_keras_batch_clips_count"])
        clips = float(facts["ser_keras_batch_clips_sum"])
        print(f"mean batch {clips / batches:.1f} clips")
        print("server ms, load ms: processor time of a clip in each")
        record(arguments, rows)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
