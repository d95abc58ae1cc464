"""A real Redis for the tests: its own folder and port, a password, every write on disk."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis

from tests.support.processes import free_port

INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "redis-server"]
PASSWORD = "only-tests-know-it"
START_S = 20


class RedisServer:
    """A server that can be killed and started again on the same port and files."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it, with the password."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "requirepass": PASSWORD,
        }
        flat = [part for name, value in options.items() for part in (f"--{name}", value)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._program, *flat], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            with suppress(redis.RedisError), self.client() as client:
                client.ping()
                return
            if time.monotonic() > deadline:
                pytest.fail((self._folder / "log").read_text())
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def client(self) -> "redis.Redis":
        """A client of the server; close it."""
        return redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """A running server, gone with its files afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-redis-"))
    server = RedisServer(find_program(), folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def find_program() -> str:
    """redis-server, installed first where that is possible."""
    if found := shutil.which("redis-server"):
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], check=False, capture_output=True)
        # The package starts a server of its own on the usual port; the tests need none.
        subprocess.run(
            INSTALL, check=False, capture_output=True, env=os.environ | {"RUNLEVEL": "1"}
        )
    if found := shutil.which("redis-server"):
        return found
    pytest.fail(f"These tests need redis-server. Run: sudo {' '.join(INSTALL)}")
