"""The supervisor that the tests here share, and its child."""

import subprocess

import psutil

from tests.processes import Site, wait_for

START_S = 90  # seconds; a child loads torch, and the machine may be busy


class Worker:
    """A supervisor that is started when a test needs it and none is running."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def supervisor(self) -> subprocess.Popen[bytes]:
        """The supervisor that runs, or ran last."""
        assert self._supervisor is not None
        return self._supervisor

    def wait_for_child(self) -> psutil.Process:
        """A running child, with its supervisor, started if need be."""
        if self._supervisor is None or self._supervisor.poll() is not None:
            self._supervisor = self._site.start("worker.supervisor", "--exit-with-parent")
        return wait_for(self._child, seconds=START_S)

    def close_stdin(self) -> None:
        """What the supervisor sees when the process that started it has ended."""
        assert self.supervisor.stdin is not None
        self.supervisor.stdin.close()

    def wait_for_end(self) -> int:
        """The supervisor's exit code, within its grace time."""
        return self.supervisor.wait(self._site.settings.grace_seconds + START_S)

    def _child(self) -> psutil.Process | None:
        found = psutil.Process(self.supervisor.pid).children()
        return found[0] if found else None
