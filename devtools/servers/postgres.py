"""A real PostgreSQL server in a folder of its own, on a Unix socket and without a port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from devtools.servers.programs import POSTGRES, find

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
def postgres_server(options: str, folder: Path | None = None) -> Iterator[PostgresServer]:
    """Start a server; stop it and remove its files at the end.

    `options` are FAST or DURABLE, and others of the server's command line. Raises ProgramMissing.
    """
    programs = find(POSTGRES).resolve().parent
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
