"""The supervisor's handle on one run of the worker child."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Self


class Child:
    """A started child in its own process group, so that a signal to our group does not reach it."""

    def __init__(self, owner: str, process: "subprocess.Popen[bytes]") -> None:
        self.owner = owner  # under which this run claims jobs
        self.started = time.monotonic()
        self._process = process

    @classmethod
    def start(cls, owner: str) -> Self:
        """Start the Celery worker, which ends when this process does."""
        command = [sys.executable, "-m", "worker", "--owner", owner, "--parent", str(os.getpid())]
        # Waiting threads must not spin: on shared cores they slow the thread that they wait for.
        environment = {"GOMP_SPINCOUNT": "0", **os.environ}
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, process_group=0, env=environment
        )
        return cls(owner, process)

    @property
    def pid(self) -> int:
        """The process id, which is also the process group's."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code: None while the child runs, negative if a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the child to stop: it saves a checkpoint, gives its job back and exits."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the child and every process in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self, grace_s: float) -> None:
        """Ask the child to stop, wait at most `grace_s` seconds, then kill it."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self.kill()
