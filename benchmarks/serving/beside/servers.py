"""The servers, each of which runs within a context with the same number of threads."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.serving.beside.endpoint import MODEL, Endpoint
from benchmarks.serving.served import serving
from devtools.servers.ports import free_port

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
    """Serve a model with LitServe, by one worker for each thread."""
    port = free_port()
    command = [programs / "python", PROGRAM, model.open_clip, port, threads, BATCH]
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
