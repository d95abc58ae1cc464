"""A temporary PostgreSQL server for benchmarks, on a Unix socket and without a port."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MISSING = "PostgreSQL's programs are not installed: sudo apt-get install postgresql"


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a server that syncs every commit; yield the URL of an empty database."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="perennial-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres")

        def run(program: str, *arguments: str) -> None:
            command = [str(programs / program), "-D", str(folder / "data"), *arguments]
            if os.geteuid() == 0:
                command = ["runuser", "-u", "postgres", "--", *command]
            subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL)

        run("initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        socket = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        run("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", socket)
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")


def _programs() -> Path:
    """Return the folder with initdb and pg_ctl. Raises SystemExit if there is none."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = next((folder for folder in folders if (folder / "pg_ctl").exists()), None)
    if found is None:
        raise SystemExit(MISSING)
    return found
