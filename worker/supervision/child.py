"""One run of the worker child, as its parent sees it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Self


class Child:
    """A started child process in a group of its own, so that a signal to us spares it."""

    def __init__(self, owner: str, process: "subprocess.Popen[bytes]") -> None:
        self.owner = owner  # what this run signs its claims with
        self.started = time.monotonic()
        self._process = process

    @classmethod
    def start(cls, owner: str) -> Self:
        """Start the Celery worker; it ends when this process does."""
        command = [sys.executable, "-m", "worker", "--owner", owner, "--parent", str(os.getpid())]
        # A thread that waits for another must not spin: on shared cores it waits for itself.
        environment = {"GOMP_SPINCOUNT": "0", **os.environ}
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, process_group=0, env=environment
        )
        return cls(owner, process)

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative when a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to stop: it saves a checkpoint, gives its job back and ends."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and every process it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self, grace_s: float) -> None:
        """Ask, wait at most `grace_s` seconds, then kill."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self.kill()
