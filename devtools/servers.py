"""Servers that tests and benchmarks start."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import redis

from devtools.ports import free_port
from devtools.programs import POSTGRES, PROMETHEUS, REDIS, find

# A real PostgreSQL server in a folder of its own, on a Unix socket and without a port.

USER = "postgres"  # the server's owner, if this process runs as root, which the server refuses
FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"  # would not survive a crash
DURABLE = "-c fsync=on -c synchronous_commit=on"


class PostgresServer:
    """A server that can be killed and started again on the same files."""

    def __init__(self, programs: Path, folder: Path, options: str) -> None:
        self.folder = folder
        self._programs = programs
        self._as_user: tuple[str, ...] = ()
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
            self._as_user = ("runuser", "-u", USER, "--")
        socket = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        self._options = f"{socket} -c max_connections=200 {options}"

    @property
    def url(self) -> str:
        """Its URL, with `{name}` for the database."""
        return f"postgresql+psycopg://postgres@/{{name}}?host={self.folder}"

    def create(self) -> None:
        """Make an empty cluster."""
        data = str(self.folder / "data")
        who = ("-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256")
        self._run("initdb", "-D", data, *who, "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start it, after a crash with recovery, and wait until it answers."""
        log = str(self.folder / "log")
        self._control("start", "-w", "-t", "120", "-l", log, "-o", self._options)

    def stop(self) -> None:
        """Stop it at once, without a checkpoint."""
        self._control("stop", "-w", "-m", "immediate")

    def kill(self) -> None:
        """Send SIGKILL to the server and all its children; return when all are gone."""
        server = psutil.Process(self._pid())
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=20)

    def is_up(self) -> bool:
        """Return whether the server's process exists, though it may be recovering."""
        try:
            return bool(psutil.pid_exists(self._pid()))
        except FileNotFoundError:
            return False

    def _pid(self) -> int:
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def _control(self, verb: str, *arguments: str) -> None:
        self._run("pg_ctl", verb, "-D", str(self.folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._programs / program), *arguments]
        # A server keeps the pipes of its starter open, so its output goes to a file.
        with (self.folder.parent / f"{self.folder.name}.log").open("w+") as log:
            done = subprocess.run(command, cwd="/", stdout=log, stderr=log, check=False)
            log.seek(0)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}\n{log.read()}")


@contextmanager
def postgres_server(
    options: str, folder: Path | None = None, *, programs: Path | None = None
) -> Iterator[PostgresServer]:
    """Start a server; stop it and remove its files at the end.

    `options` are FAST or DURABLE, and others of the server's command line; `programs` is the folder
    of a release's programs. Raises ProgramMissing.
    """
    programs = programs or find(POSTGRES).resolve().parent
    folder = folder or Path(tempfile.mkdtemp(prefix="perennial-pg-"))
    server = PostgresServer(programs, folder, options)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            with suppress(RuntimeError):  # killed, and not started again
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


def run_sql(server: str, database: str, statement: str) -> None:
    """Run statements as the server's owner, outside any transaction; `server` is its URL."""
    where = server.format(name=database).replace("+psycopg", "")
    with psycopg.connect(where, autocommit=True, options="-c lock_timeout=5s") as connection:
        connection.execute(statement)


# Debian's Prometheus with its tool.

SERVER_START_S = 60.0


def find_prometheus(program: str = "prometheus") -> str:
    """Return the path of prometheus or promtool. Raises ProgramMissing."""
    return str(find(PROMETHEUS).with_name(program))


@contextmanager
def prometheus_server(folder: Path, configuration: Mapping[str, Any]) -> Iterator[str]:
    """Start a server in an empty folder; yield its URL, and kill it at the end."""
    url = f"http://127.0.0.1:{free_port()}"
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": url.removeprefix("http://"),
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([find_prometheus(), *flags], stdout=log, stderr=log)
    try:
        until = time.monotonic() + SERVER_START_S
        while not _is_ready(url):
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


# A real Redis server in a folder and on a port of its own, with a password and durable writes.

PASSWORD = "only-tests-know-it"

REDIS_START_S = 20


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
        deadline = time.monotonic() + REDIS_START_S
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


# A real S3 server in a process and on a port of its own: moto's, with all data in its memory.

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "open-sesame-0123"}


@contextmanager
def s3_server() -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Start a server; yield its URL and its process, and kill it at the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url, process)
        yield url, process
    finally:
        process.kill()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + SERVER_START_S
    with httpx.Client(timeout=2.0) as client:
        while time.monotonic() < until and process.poll() is None:
            try:
                client.get(f"{url}/moto-api/")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
    raise RuntimeError("moto's S3 server is not installed. Run: pip install --group dev")
