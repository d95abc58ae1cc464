"""Starting the embedded service as a user would, and stopping all its processes."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devtools.ports import free_port
from perennial.client import Client

START_SECONDS = 120
STOP_SECONDS = 20
LOG_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service: its URL, API key, home folder and process."""

    url: str
    key: str
    home: Path
    pid: int  # of the API's process

    def client(self) -> Client:
        """Return a client with the service's key."""
        return Client(self.url, self.key, trust_env=False)  # loopback needs no proxy


@contextmanager
def running_service(home: Path, **settings: str) -> Iterator[Service]:
    """Run API, worker and inference below `home` within the context, and stop them at its end.

    `settings` are environment variables.
    """
    port = free_port()  # any, so that services that start at the same time take different ones
    key = "pk_" + secrets.token_urlsafe(32)
    environment = (
        os.environ
        | settings
        | {
            "PERENNIAL_HOME": str(home),
            "PERENNIAL_SPLIT": "digest",  # so that figures repeat
            "PERENNIAL_PORT": str(port),
            "PERENNIAL_ADMIN_KEY": key,
        }
    )
    # Raise KeyboardInterrupt on SIGTERM as on Ctrl-C, so that the service is stopped as well.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.umask(0o077)  # as the service itself does: its files are private
    home.mkdir(parents=True, exist_ok=True)
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "serve"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            service = Service(url=f"http://127.0.0.1:{port}", key=key, home=home, pid=process.pid)
            _wait_until_ready(process, service)
            yield service
        finally:
            stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    with service.client() as client:
        while time.monotonic() < deadline and process.poll() is None:
            if client.is_ready():
                return
            time.sleep(0.2)
    log = service.home / "service.log"
    last = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise SystemExit(f"The service did not start; the end of {log}:\n{last}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process that leads its group; if it takes too long, kill the group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
