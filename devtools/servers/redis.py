"""A real Redis server in a folder and on a port of its own, with a password and durable writes."""

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from devtools.servers.ports import free_port
from devtools.servers.programs import REDIS, find

PASSWORD = "only-tests-know-it"
START_S = 20


class RedisServer:
    """A server that can be killed and started again on the same port and files."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, with the password."""
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
            self._process = subprocess.Popen([str(self._program), *flat], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            with suppress(redis.RedisError), self.client() as client:
                client.ping()
                return
            if time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.05)

    def kill(self) -> None:
        """Send SIGKILL and wait until the process is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def client(self) -> "redis.Redis":
        """Return a client of the server; close it."""
        return redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Start a server; kill it and remove its files at the end. Raises ProgramMissing."""
    folder = Path(tempfile.mkdtemp(prefix="perennial-redis-"))
    server = RedisServer(find(REDIS), folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
