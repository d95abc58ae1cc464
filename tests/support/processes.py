"""Real processes on a home of their own, all of them gone afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from api.embedded import to_environment
from core.bootstrap import build, close, migrate
from core.settings import Settings

T = TypeVar("T")

MOST_S = 5.0  # of one look of `wait_for`

EXIT_S = 120.0  # more than the grace time of any process, on a busy machine too


def wait_for(what: Callable[[], T | None], *, seconds: float, every: float = 0.05) -> T:
    """The first true answer; fails when there is none in time.

    Of one look and the pause after it, `MOST_S` count at most: a virtual machine may be paused for
    minutes while its clock goes on, and what is waited for pauses with it.
    """
    left = seconds
    while left > 0:
        began = time.monotonic()
        if found := what():
            return found
        time.sleep(every)
        left -= min(time.monotonic() - began, MOST_S)
    raise AssertionError(f"did not happen within {seconds} s")


def wait_for_exit(process: subprocess.Popen[bytes], *, seconds: float = EXIT_S) -> int:
    """The exit code of a process, once it has ended; negative if a signal ended it."""
    wait_for(lambda: process.poll() is not None, seconds=seconds, every=0.03)
    return process.returncode


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Site:
    """A home with a database, and the processes that were started on it."""

    def __init__(self, home: Path, **changes: Any) -> None:
        self.settings = Settings(home=home, threads=1, **changes)
        self.platform = build(self.settings)
        migrate(self.settings)
        self._log = (home / "processes.log").open("wb")
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a module of this project; its end of standard input is ours."""
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=os.environ | to_environment(self.settings) | settings,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def processes(self) -> list[psutil.Process]:
        """Every living process that works on this home."""
        return [found for found in psutil.process_iter() if _home_of(found) == self.home]

    @property
    def home(self) -> str:
        return str(self.settings.home)

    @property
    def log(self) -> str:
        """What the processes have written so far."""
        return Path(self._log.name).read_text()

    def close(self) -> None:
        """Stop what is left, kill what does not stop, and fail if that was needed."""
        for process in self._started:
            if process.poll() is None:
                process.terminate()
        for process in self._started:
            wait_for_exit(process, seconds=self.settings.grace_seconds + 10)
            if process.stdin is not None:
                process.stdin.close()
        left = self.processes()
        for straggler in left:
            straggler.kill()
        self._log.close()
        close(self.platform)
        assert not left, f"processes left behind: {left}\n{self.log}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and bury it."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def _home_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get("PERENNIAL_HOME") if process.pid != os.getpid() else None
    except psutil.Error:
        return None
