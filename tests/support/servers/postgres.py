"""A real PostgreSQL for the tests: its own folder, a Unix socket, no port, nothing kept."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
DURABLE = "-c fsync=on -c synchronous_commit=on"


class PostgresServer:
    """A server that can be killed and started again on the same files."""

    def __init__(self, programs: Path, folder: Path, options: str) -> None:
        self.folder = folder
        self._programs = programs
        self._user = unprivileged_user()
        if self._user:
            shutil.chown(folder, self._user)
        socket = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        self._options = f"{socket} -c max_connections=200 {options}"

    @property
    def url(self) -> str:
        """Where clients find it, with `{name}` for the database."""
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
        """End it at once."""
        self._control("stop", "-w", "-m", "immediate")

    def kill(self) -> None:
        """SIGKILL the server and every process it has started; returns when all are gone."""
        server = psutil.Process(self._pid())
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=20)

    def is_up(self) -> bool:
        """Whether the server itself lives, though it may be recovering."""
        try:
            return bool(psutil.pid_exists(self._pid()))
        except FileNotFoundError:
            return False

    def _pid(self) -> int:
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def _control(self, verb: str, *arguments: str) -> None:
        self._run("pg_ctl", verb, "-D", str(self.folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        command = ["runuser", "-u", self._user, "--", *command] if self._user else command
        # A server keeps the pipes of its starter open, so its words go to a file.
        with (self.folder.parent / f"{self.folder.name}.log").open("w+") as log:
            done = subprocess.run(command, cwd="/", stdout=log, stderr=log, check=False)
            log.seek(0)
            if done.returncode:
                pytest.fail(f"{' '.join(command)}\n{log.read()}")


@contextmanager
def postgres_server(options: str, folder: Path | None = None) -> Iterator[PostgresServer]:
    """A running server, gone with its files afterwards."""
    programs = find_programs()
    folder = folder or Path(tempfile.mkdtemp(prefix="perennial-pg-"))
    server = PostgresServer(programs, folder, options)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            with suppress(pytest.fail.Exception):  # killed, and not started again
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@contextmanager
def postgres() -> Iterator[str]:
    """Start a fast server that would not survive a crash; its URL with `{name}`."""
    with postgres_server(FAST) as server:
        yield server.url


def find_programs() -> Path:
    """The folder with initdb and pg_ctl, installed first where that is possible."""
    if found := _installed():
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update"], check=False, capture_output=True)
        subprocess.run(INSTALL, check=False, capture_output=True)
    if found := _installed():
        return found
    pytest.fail(f"The contract tests need PostgreSQL's programs. Run: sudo {' '.join(INSTALL)}")


def _installed() -> Path | None:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def unprivileged_user() -> str | None:
    """Whom the server runs as when the tests run as root, which it refuses."""
    if os.geteuid() != 0:
        return None
    return "postgres"


def run_sql(server: str, database: str, statement: str) -> None:
    """Run statements as the server's owner, outside any transaction."""
    where = server.format(name=database).replace("+psycopg", "")
    with psycopg.connect(where, autocommit=True, options="-c lock_timeout=5s") as connection:
        connection.execute(statement)
