"""An API process and an inference process that can be altered while they run."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from demo.service import Service, stop
from devtools.servers.ports import free_port

START_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Alterable:
    """A process that answers, and the socket over which it is told what to alter."""

    service: Service
    control: socket.socket
    log: Path

    def alter(self, names: str) -> None:
        """Alter what these names say, and nothing else. Raises RuntimeError if that fails."""
        self.control.sendall(names.encode() + b"\n")
        if not self.control.recv(1):
            raise RuntimeError(self.log.read_text(errors="replace"))

    @property
    def cpu_seconds(self) -> float:
        """The CPU time of the process."""
        return _cpu_seconds(self.service.pid)

    @property
    def cpu_seconds_of_children(self) -> float:
        """The CPU time of its children; those of an API process decode."""
        children = psutil.Process(self.service.pid).children()
        return sum(_cpu_seconds(child.pid) for child in children)


@contextmanager
def api(home: Path, settings: Mapping[str, str]) -> Iterator[Alterable]:
    """Run an API process by itself."""
    port = free_port()
    more = {"PERENNIAL_PORT": str(port), "PERENNIAL_EMBEDDED": "false"}
    key = settings["PERENNIAL_ADMIN_KEY"]
    with _running("cli serve", home, port, key, {**settings, **more}) as running:
        yield running


@contextmanager
def inference(home: Path, settings: Mapping[str, str]) -> Iterator[Alterable]:
    """Run an inference process."""
    port = free_port()
    key = settings["PERENNIAL_INFERENCE_KEY"]
    more = {"PERENNIAL_INFERENCE_PORT": str(port)}
    with _running("worker.inference", home, port, key, {**settings, **more}) as running:
        yield running


@contextmanager
def _running(
    program: str, home: Path, port: int, key: str, settings: Mapping[str, str]
) -> Iterator[Alterable]:
    ours, theirs = socket.socketpair()
    ours.settimeout(START_S)
    log = home / f"{program}.log"
    with ours:
        with theirs, log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.altered", *program.split()],
                env={**os.environ, **settings, "PERENNIAL_HOME": str(home)},
                stdin=theirs.fileno(),
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            service = Service(url=f"http://127.0.0.1:{port}", key=key, home=home, pid=process.pid)
            _wait_until_ready(service, process, log)
            yield Alterable(service=service, control=ours, log=log)
        finally:
            stop(process)


def _wait_until_ready(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            httpx.get(f"{service.url}/healthz", trust_env=False).raise_for_status()
        except httpx.HTTPError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")) from error
            time.sleep(0.2)
        else:
            return


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process to the nanosecond, by the clock that Linux has of each."""
    return time.clock_gettime(~pid << 3 | 2)
