"""A real PostgreSQL for the tests: its own folder, a Unix socket, no port, nothing kept."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
FAST = "-c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off"


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server; the URL of its first database, without the database's name."""
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="perennial-pg-"))
    user = unprivileged_user()
    if user:
        shutil.chown(folder, user)
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        command = ["runuser", "-u", user, "--", *command] if user else command
        # A server keeps the pipes of its starter open, so its words go to a file.
        with (folder.parent / f"{folder.name}.log").open("w+") as log:
            done = subprocess.run(command, cwd="/", stdout=log, stderr=log, check=False)
            log.seek(0)
            if done.returncode:
                pytest.fail(f"{' '.join(command)}\n{log.read()}")

    try:
        run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"{FAST} -c unix_socket_directories='{folder}' -c max_connections=200"
        run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(folder / "log"), "-o", options)
        try:
            yield f"postgresql+psycopg://postgres@/{{name}}?host={folder}"
        finally:
            run("pg_ctl", "stop", "-w", "-D", str(data), "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


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
