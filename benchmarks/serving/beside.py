"""An open loop: requests leave by the clock, whether or not earlier ones have been answered.

A wait counts from the time at which its request was due, so a request that leaves late, or that
stands behind others, waits all the longer.
"""

import argparse
import asyncio
import base64
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.api.scene import Target, content_length
from benchmarks.ingest import write_jpegs
from benchmarks.serving import bare
from benchmarks.serving.classify import (
    BUNDLED,
    serving,
    write_huggingface_of,
    write_onnx_of,
    write_random,
)
from core.exporting.onnx import IMAGE_FILE
from core.registry.versions import ServingPrecision
from devtools.ports import free_port
from devtools.process_memory import cpu_seconds

# A server that embeds images, and what is sent to it: what OpenAI's clients send for one image.


MODEL = "measured"

Vectors = NDArray[np.float64]  # (images, width), rows of length 1


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address to ask, and what is sent there beside the image."""

    url: str
    pid: int  # of the process that is started first
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the JSON that is sent

    def targets(self, files: Sequence[bytes]) -> Sequence[Target]:
        """Return a request to embed each JPEG."""
        return [Target.of(MODEL, self.pid, request) for request in self._requests(files)]

    def vectors(self, files: Sequence[bytes]) -> Vectors:
        """Return the vectors of the JPEGs. Raises HTTPError."""
        with httpx.Client(timeout=120, trust_env=False) as client:
            answers = [client.send(request).raise_for_status() for request in self._requests(files)]
        found = np.array([answer.json()["data"][0]["embedding"] for answer in answers])
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        rows: Vectors = found / norms
        return rows

    def _requests(self, files: Sequence[bytes]) -> Iterator[httpx.Request]:
        for data in files:
            image = "data:image/jpeg;base64," + base64.b64encode(data).decode()
            asked = {"model": MODEL, "input": [image], **self.fields}
            yield httpx.Request("POST", self.url, headers=self.headers, json=asked)


def least_cosine(one: Vectors, other: Vectors) -> float:
    """Return the least cosine of two vectors of the same image."""
    return float((one * other).sum(axis=1).min())


# Virtual environments for other software, with the packages that it needs, made once.


CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"

TORCH = ("torch", "torchvision", "pillow")

PINNED = ("--constraint", str(CONSTRAINTS))

LITSERVE = ("litserve==0.2.19", "onnxruntime", "open_clip_torch", *TORCH, *PINNED)

# Its extra `vision` would bring another build of torch. Releases of transformers from 5 on answer
# otherwise than it reads, and it imports aiohttp without naming it.
INFINITY = ("infinity-emb[server]==0.0.78", "transformers>=4.47,<5", "aiohttp", *TORCH)


def environment(folder: Path, wanted: Sequence[str]) -> Path:
    """Return the folder of an environment's programs, after making it if it is not there.

    `wanted` are arguments of `pip install`. Raises CalledProcessError if it fails.
    """
    programs, made = folder / "bin", folder / "installed"
    if not made.exists() or made.read_text() != "\n".join(wanted):
        print(f"Making {folder}, which takes a few minutes.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(programs / "python"), "-I", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
        made.write_text("\n".join(wanted))
    return programs


PATIENCE_S = 60.0  # after the last request was due


@dataclass(kw_only=True)
class Turn:
    """The waits and failures of the requests of one turn."""

    sent: int
    waits: list[float] = field(default_factory=list)  # seconds, of the requests that succeeded
    failed: Counter[str] = field(default_factory=Counter)  # by status, or by what else happened
    seconds: float = 0.0  # from the first request to the last success

    @property
    def rate(self) -> float:
        """Successes a second."""
        return len(self.waits) / self.seconds if self.waits else 0.0

    @property
    def p50(self) -> float:
        """The median wait."""
        return median(self.waits) if self.waits else float("nan")

    @property
    def p99(self) -> float:
        """The wait that one of a hundred exceeds."""
        if len(self.waits) < 2:
            return self.p50
        return min(quantiles(self.waits, n=100)[98], max(self.waits))


def send(targets: Sequence[Target], rate: float, seconds: float) -> Turn:
    """Send `rate` requests a second, the targets in turn; call this in another process."""
    return asyncio.run(_Loop(targets, rate, seconds).run())


class _Loop:
    """The clock, and the connections, of which each has at most one request under way."""

    def __init__(self, targets: Sequence[Target], rate: float, seconds: float) -> None:
        self._targets = targets
        self._rate = rate
        self._turn = Turn(sent=max(1, round(rate * seconds)))
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._remaining = self._turn.sent
        self._ended = asyncio.Event()

    async def run(self) -> Turn:
        loop = asyncio.get_running_loop()
        self._began = time.perf_counter()
        sending = set()
        for number in range(self._turn.sent):
            due = self._began + number / self._rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            target = self._targets[number % len(self._targets)]
            if self._idle:
                self._idle.pop().send(target, due)
            else:
                task = loop.create_task(self._connect(target, due))
                sending.add(task)
                task.add_done_callback(sending.discard)
        try:
            await asyncio.wait_for(self._ended.wait(), PATIENCE_S)
        except TimeoutError:
            self._turn.failed["not answered"] = self._remaining
        for connection in self._open:
            connection.close()
        return self._turn

    async def _connect(self, target: Target, due: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            made = partial(_Connection, self)
            _, connection = await loop.create_connection(made, target.host, target.port)
        except OSError as error:
            self.failed(type(error).__name__)
            return
        self._open.add(connection)
        connection.send(target, due)

    def answered(self, connection: "_Connection", status: str, due: float) -> None:
        now = time.perf_counter()
        if status.startswith("2"):
            self._turn.waits.append(now - due)
            self._turn.seconds = now - self._began
            self._count()
        else:
            self.failed(status)
        self._idle.append(connection)

    def lost(self, connection: "_Connection", *, asked: bool) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if asked:
            self.failed("connection closed")

    def failed(self, reason: str) -> None:
        self._turn.failed[reason] += 1
        self._count()

    def _count(self) -> None:
        self._remaining -= 1
        if not self._remaining:
            self._ended.set()


class _Connection(asyncio.Protocol):
    def __init__(self, owner: _Loop) -> None:
        self._owner = owner
        self._due: float | None = None  # None while nothing is asked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, target: Target, due: float) -> None:
        self._received = b""
        self._due = due
        self._transport.write(target.message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < content_length(head) or self._due is None:
            return
        due, self._due = self._due, None
        self._owner.answered(self, head[9:12].decode(), due)

    def connection_lost(self, error: Exception | None) -> None:
        asked, self._due = self._due is not None, None
        self._owner.lost(self, asked=asked)

    def close(self) -> None:
        self._due = None
        self._transport.close()


# The servers, each of which runs within a context with the same number of threads.


START_S, STOP_S = 600.0, 20.0

LOG_LINES = 60

# As the service has it, waiting threads leave cores to others. Our modules are not theirs.
SETTINGS = {"GOMP_SPINCOUNT": "0", "PYTHONPATH": ""}

BATCH = 32  # the most images of a forward pass; what Infinity does by itself

PROGRAM = Path(__file__).with_name("litserve_server.py")


class NotStarted(RuntimeError):
    """A server ended, or did not answer in time; the message has the end of its log."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model in the formats of the servers."""

    base: str  # as the service imports it
    open_clip: Path
    huggingface: Path
    onnx: Path  # a folder with the image tower


@contextmanager
def our_service(model: Model, home: Path, threads: int) -> Iterator[Endpoint]:
    """Serve a model with this repository's service."""
    with serving(home, threads) as service:
        with service.client() as client:
            client.jobs.wait(client.models.create(MODEL, base=model.base)["id"])
        yield Endpoint(
            url=f"{service.url}/v1/embeddings",
            pid=service.pid,
            headers={"Authorization": f"Bearer {service.key}"},
        )


@contextmanager
def lit_serve(
    programs: Path, model: Model, home: Path, threads: int, sample: bytes
) -> Iterator[Endpoint]:
    """Serve a model with LitServe and ONNX Runtime, by one worker for each thread."""
    port = free_port()
    tower = model.onnx / IMAGE_FILE
    command = [programs / "python", PROGRAM, model.open_clip, tower, port, threads, BATCH]
    with _running(command, {}, home / "litserve.log") as process:
        found = Endpoint(url=f"http://127.0.0.1:{port}/v1/embeddings", pid=process.pid)
        _wait_until_answered(found, process, sample, home / "litserve.log")
        yield found


@contextmanager
def infinity(
    programs: Path, model: Model, home: Path, threads: int, sample: bytes
) -> Iterator[Endpoint]:
    """Serve a model with Infinity."""
    port = free_port()
    command = [programs / "infinity_emb", "v2", "--model-id", model.huggingface]
    command += ["--served-model-name", MODEL, "--engine", "torch", "--device", "cpu"]
    command += ["--no-bettertransformer", "--no-model-warmup", "--batch-size", BATCH]
    command += ["--host", "127.0.0.1", "--port", port, "--log-level", "warning"]
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": str(threads)}
    with _running(command, quiet, home / "infinity.log") as process:
        found = Endpoint(
            url=f"http://127.0.0.1:{port}/embeddings",
            pid=process.pid,
            fields={"modality": "image"},
        )
        _wait_until_answered(found, process, sample, home / "infinity.log")
        yield found


@contextmanager
def _running(
    command: Sequence[object], settings: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as written:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **SETTINGS, **settings},
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
        _end_children(process)


def _end_children(process: subprocess.Popen[bytes]) -> None:
    """End what a server leaves behind of its own session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_until_answered(
    endpoint: Endpoint, process: subprocess.Popen[bytes], sample: bytes, log: Path
) -> None:
    """Wait until an image is embedded. Raises NotStarted."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            endpoint.vectors([sample])
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                last = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
                raise NotStarted(f"{process.args!r}: {error}\n{last}") from error
            time.sleep(0.2)
        else:
            return


# Our service, LitServe and Infinity embed the same images: an open loop at several rates.
#
# The bundled model is served by the service and by LitServe, which runs a session of ONNX Runtime
# on an exported tower, with the same weights and open_clip's transforms; a ViT-B/32 with random
# weights by these two and by Infinity, which reads it in the format of Hugging Face and runs torch:
# its ONNX engine takes no CLIP. One server runs at a time, with the same number of threads. Before
# anything is measured, its vectors of all images must have cosines of at least 0.9999 with those of
# the service.
#
# Requests of one image leave at fixed rates, whether or not earlier ones have been answered. Rates
# are shares of what a bare loop of ONNX Runtime classifies on the same cores in this run. Waits
# count from when a request was due. The bare loop decodes on one core, so a server may pass it; a
# share of 1.5 saturates all of them: there, compare images a second.
#
# LitServe and Infinity are installed in environments of their own below a folder, `var/serving`
# unless told otherwise, at the first run.


IMAGES = 64

BARE_BATCH, BARE_S, WARM_S = 32, 3.0, 3.0

CLASSES = [f"class {number}" for number in range(10)]

LEAST_COSINE = 0.9999

LEAST_SENT = 100  # requests at each rate, so that one of a hundred can be told

Started = AbstractContextManager[Endpoint]

Row = dict[str, Any]


class VectorsDiffer(RuntimeError):
    """A server's vectors are not those of the service, so that its figures would tell nothing."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The images, processes and arguments that all servers are measured with."""

    given: argparse.Namespace
    files: Sequence[bytes]
    computing: ProcessPoolExecutor  # the bare loop
    sending: ProcessPoolExecutor  # the requests

    def model(self, name: str, home: Path) -> Model:
        """Return a model in each format that is read; one of random weights is written to home."""
        folder, converted, onnx = home / "open_clip", home / "huggingface", home / "onnx"
        if name == "tiny":
            self.computing.submit(write_onnx_of, BUNDLED, onnx).result()
            return Model(base="bundled", open_clip=BUNDLED, huggingface=BUNDLED, onnx=onnx)
        self.computing.submit(write_random, folder, "ViT-B-32").result()
        self.computing.submit(write_huggingface_of, folder, converted).result()
        self.computing.submit(write_onnx_of, folder, onnx).result()
        return Model(base=str(folder), open_clip=folder, huggingface=converted, onnx=onnx)

    def bare_rate(self, model: Model) -> float:
        """Return how many images a second a bare loop classifies."""
        loop = partial(
            bare.run,
            bare.bare_engines(ServingPrecision.FP32)[0],
            model.open_clip,
            CLASSES,
            self.given.threads,
            self.files,
            BARE_BATCH,
        )
        self.computing.submit(loop, 0.0).result()  # warms up
        return self.computing.submit(loop, BARE_S).result().rate

    def turn(self, endpoint: Endpoint, rate: float, seconds: float) -> tuple[Turn, float]:
        """Send images at a rate; return what came of it, and the CPU seconds of the server."""
        worked = cpu_seconds(endpoint.pid)
        turn = self.sending.submit(send, endpoint.targets(self.files), rate, seconds).result()
        return turn, cpu_seconds(endpoint.pid) - worked

    def rows(self, name: str, model: Model, servers: Mapping[str, Started]) -> Iterator[Row]:
        """Yield a row of the table for each server and rate. Raises VectorsDiffer."""
        bare_rate = self.bare_rate(model)
        reference: Vectors | None = None
        for title, started in servers.items():
            with started as endpoint:
                vectors = endpoint.vectors(self.files)
                reference = vectors if reference is None else reference
                cosine = least_cosine(reference, vectors)
                if cosine < LEAST_COSINE:
                    raise VectorsDiffer(f"{title}: a vector has a cosine of {cosine} with ours")
                self.turn(endpoint, self.given.shares[0] * bare_rate, WARM_S)
                for share in self.given.shares:
                    rate = share * bare_rate
                    seconds = max(self.given.turn, LEAST_SENT / rate)
                    turn, cpu = self.turn(endpoint, rate, seconds)
                    yield {
                        "model": name,
                        "server": title,
                        "of bare": share,
                        "sent/s": rate,
                        "sent": turn.sent,
                        "failed": " ".join(f"{n} x {why}" for why, n in turn.failed.items()) or 0,
                        "images/s": turn.rate,
                        "p50 ms": 1000 * turn.p50,
                        "p99 ms": 1000 * turn.p99,
                        "CPU ms": 1000 * cpu / max(1, len(turn.waits)),
                        "1 - cosine": 1 - cosine,
                    }


def servers_of(
    name: str, model: Model, home: Path, sample: bytes, given: argparse.Namespace
) -> Mapping[str, Started]:
    """Return the servers of a model, not yet started, the service first."""
    ours: dict[str, Started] = {"the service": our_service(model, home, given.threads)}
    programs = environment(given.environments / "litserve", LITSERVE)
    ours |= {"LitServe": lit_serve(programs, model, home, given.threads, sample)}
    if name == "tiny":  # of which Infinity knows no format
        return ours
    programs = environment(given.environments / "infinity", INFINITY)
    return ours | {"Infinity": infinity(programs, model, home, given.threads, sample)}


def bench_beside(given: argparse.Namespace) -> list[Row]:
    """Measure the servers of each model."""
    rows: list[Row] = []
    spawning = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perennial-beside-")))
        files = [path.read_bytes() for path in write_jpegs(home / "jpegs", IMAGES, given.side)]
        bench = Bench(
            given=given,
            files=files,
            computing=stack.enter_context(ProcessPoolExecutor(1, mp_context=spawning)),
            sending=stack.enter_context(ProcessPoolExecutor(1, mp_context=spawning)),
        )
        for name in given.models:
            (home / name).mkdir()
            model = bench.model(name, home / name)
            rows += bench.rows(name, model, servers_of(name, model, home / name, files[0], given))
    return rows
