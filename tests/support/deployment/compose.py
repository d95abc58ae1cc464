"""docker-compose.yml as Compose reads it, and its services started by hand."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from tests.support.places import ROOT

FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")

Service = dict[str, Any]


class Unset(Exception):
    """A variable that the file requires has no value."""


def services(variables: Mapping[str, str]) -> dict[str, Service]:
    """The services with these variables put in. Raises Unset."""
    found: dict[str, Service] = read(variables)["services"]
    return found


def read(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole file; with variables, in their places."""
    whole: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return whole if variables is None else _filled(whole, variables)


def asked() -> dict[str, tuple[str, str]]:
    """Each variable of the file with its form (`?` or `-`) and its default, everywhere the same."""
    found: dict[str, tuple[str, str]] = {}
    for name, *asks in _VARIABLE.findall(FILE.read_text()):
        form, rest = found.setdefault(name, tuple(asks))
        assert [form, rest] == asks, f"{name} is asked for in two ways"
    return found


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case dict():
            return {key: _filled(item, variables) for key, item in value.items()}
        case list():
            return [_filled(item, variables) for item in value]
        case str():
            return _VARIABLE.sub(lambda found: _put_in(found, variables), value)
        case _:
            return value


def _put_in(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name, form, rest = found.groups()
    if value := variables.get(name):
        return value
    if form != "-":
        raise Unset(rest or name)
    return str(rest)


class ByHand:
    """Processes with the commands and the environment of the file's services, and no other.

    `places` says what stands on this machine for what the file names: hosts, ports. Each process
    has a folder of its own for /data.
    """

    def __init__(self, found: dict[str, Service], folder: Path, places: Mapping[str, str]) -> None:
        self._services = found
        self._folder = folder
        folder.mkdir()
        self._places = places
        self._started: list[subprocess.Popen[bytes]] = []

    def run(self, service: str, *, seconds: float) -> None:
        """Run a one-shot to its end."""
        process = self.start(service)
        assert process.wait(seconds) == 0, self.log

    def start(self, service: str, *options: str, **more: str) -> "subprocess.Popen[bytes]":
        """Start a service once more; `more` is what the file need not say to a container."""
        number = len(self._started)
        folder = self._folder / f"{service}-{number}"
        folder.mkdir()
        command = self._here(self._services[service]["command"], folder)
        with (self._folder / f"{number:02}-{service}.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, *(self._put(option, folder) for option in options)],
                env=self._environment(service, folder) | more,
                cwd=ROOT,  # the image's folder
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def is_healthy(self, service: str) -> bool:
        """Whether the service's own check says so."""
        kind, *command = self._services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        checked = subprocess.run(
            self._here(command, self._folder),
            env=self._environment(service, self._folder),
            cwd=ROOT,
            check=False,
            timeout=120,
        )
        return checked.returncode == 0

    def lines(self, *services: str) -> list[str]:
        """What these services have written."""
        logs = [log for name in services for log in sorted(self._folder.glob(f"*-{name}.log"))]
        return [line for log in logs for line in log.read_text(errors="replace").splitlines()]

    @property
    def log(self) -> str:
        """What all have written, with the names of their logs."""
        logs = sorted(self._folder.glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')}" for path in logs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """SIGTERM for all, as `docker compose down` sends; SIGKILL for who stays."""
        for process in self._started:
            process.terminate()
        try:
            for process in self._started:
                process.wait(120)
        finally:
            for process in self._started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _environment(self, service: str, folder: Path) -> dict[str, str]:
        given = self._services[service].get("environment", {})
        here = {name: self._put(str(value), folder) for name, value in given.items()}
        return {"PATH": os.environ["PATH"], **here}

    def _here(self, command: list[str], folder: Path) -> list[str]:
        program, *rest = command
        if program == "python":
            program = sys.executable
        elif program == "perennial":  # of this environment, which may not be on the path
            program = str(Path(sys.executable).with_name("perennial"))
        return [program, *(self._put(part, folder) for part in rest)]

    def _put(self, text: str, folder: Path) -> str:
        places = {**self._places, "/data": str(folder)}
        names = re.compile("|".join(map(re.escape, places)))
        return names.sub(lambda found: places[found[0]], text)  # what is put in stays as it is
