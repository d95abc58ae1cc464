"""Worker and inference processes that run as children of an embedded API process."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, SecretStr

from core.settings import Settings

MODULES = ("worker.supervision", "worker.inference")
POLL_EVERY_S = 0.5
RESTART_AFTER_S = 2.0
MARGIN_S = 2.0  # a supervisor gives the grace time to its child, then releases the job

log = logging.getLogger(__name__)


class EmbeddedProcesses:
    """Keeps one process of each module running, each in its own process group.

    Each process holds the read end of a pipe whose write end only this process has, and exits
    when that pipe closes. So none is left over even if this process receives SIGKILL.
    """

    def __init__(
        self, settings: Settings, modules: Sequence[str] = MODULES, *, python: str = sys.executable
    ) -> None:
        self._settings = settings
        self._modules = modules
        self._python = python
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()
        self._restarter = threading.Thread(
            target=self._restart_ended, name="embedded-processes", daemon=True
        )

    def start(self) -> None:
        """Start the processes, and restart any that ends."""
        for module in self._modules:
            self._launch(module)
        self._restarter.start()

    def stop(self) -> None:
        """Stop the processes and return when none is left.

        Each gets SIGTERM and, after the grace time, SIGKILL.
        """
        self._stopping.set()
        if self._restarter.is_alive():
            self._restarter.join()
        for process in self._running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + self._settings.grace_seconds + MARGIN_S
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %s did not exit in time: sending SIGKILL", process.pid)
            _signal_group(process, signal.SIGKILL)
            process.wait()
            _close_pipe(process)

    def _restart_ended(self) -> None:
        while not self._stopping.wait(POLL_EVERY_S):
            for module in self._modules:
                if self._running[module].poll() is not None:
                    try:
                        self._restart(module)
                    except OSError as error:
                        log.warning("cannot start %s: %s", module, error)

    def _restart(self, module: str) -> None:
        ended = self._running[module]
        log.warning("%s exited with code %s: restarting it", module, ended.returncode)
        _signal_group(ended, signal.SIGKILL)  # it may have left children in its group
        _close_pipe(ended)
        if not self._stopping.wait(RESTART_AFTER_S):
            self._launch(module)

    def _launch(self, module: str) -> None:
        self._running[module] = subprocess.Popen(  # noqa: S603 - our own modules
            [self._python, "-m", module, "--exit-with-parent"],
            stdin=subprocess.PIPE,
            env=os.environ | to_environment(self._settings),
            start_new_session=True,
        )


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # no process is left in the group


def _close_pipe(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def to_environment(settings: Settings) -> Mapping[str, str]:
    """Return environment variables from which another process reads the same settings."""
    return {f"PERENNIAL_{name.upper()}": _to_text(value) for name, value in settings}


def _to_text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple() | Mapping():
            return json.dumps(value, default=_to_json)
        case _:
            return str(value)


def _to_json(value: object) -> object:
    return dict(value) if isinstance(value, BaseModel) else _to_text(value)
