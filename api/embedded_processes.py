"""The embedded service's other processes, which live and die with the API process."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from core.settings import Settings

MODULES = ("worker.supervision", "worker.inference")
LOOK_EVERY_S = 0.5
RESTART_AFTER_S = 2.0
MARGIN_S = 2.0  # a supervisor spends the grace time on its child, then gives the job back

log = logging.getLogger(__name__)


class EmbeddedProcesses:
    """Keeps one process of each module running, each in a process group of its own.

    Every one holds the read end of a pipe that only this process can write to, and ends
    when it closes: even SIGKILL of this process leaves none of them behind.
    """

    def __init__(
        self, settings: Settings, modules: Sequence[str] = MODULES, *, python: str = sys.executable
    ) -> None:
        self._settings = settings
        self._modules = modules
        self._python = python
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="companions", daemon=True)

    def start(self) -> None:
        """Start them, and start again what dies."""
        for module in self._modules:
            self._launch(module)
        self._keeper.start()

    def stop(self) -> None:
        """SIGTERM, and after the grace time SIGKILL; returns when none is left."""
        self._stopping.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for process in self._running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_seconds + MARGIN_S
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %s did not end in time and is killed", process.pid)
            _signal_group(process, signal.SIGKILL)
            process.wait()
            _close_pipe(process)

    def _keep(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            for module in self._modules:
                if self._running[module].poll() is not None:
                    try:
                        self._replace(module)
                    except OSError as error:
                        log.warning("%s cannot be started now: %s", module, error)

    def _replace(self, module: str) -> None:
        dead = self._running[module]
        log.warning("%s ended with %s and is started again", module, dead.returncode)
        _signal_group(dead, signal.SIGKILL)  # whatever it may have left in its group
        _close_pipe(dead)
        if not self._stopping.wait(RESTART_AFTER_S):
            self._launch(module)

    def _launch(self, module: str) -> None:
        self._running[module] = subprocess.Popen(  # noqa: S603 - our own modules
            [self._python, "-m", module, "--exit-with-parent"],
            stdin=subprocess.PIPE,
            env=os.environ | environment_of(self._settings),
            start_new_session=True,
        )


def environment_of(settings: Settings) -> Mapping[str, str]:
    """The environment from which another process reads the same settings."""
    return {f"PERENNIAL_{name.upper()}": _spell(value) for name, value in settings}


def _spell(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return "[" + ",".join(f'"{item}"' for item in value) + "]"
        case _:
            return str(value)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # the group is empty


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
