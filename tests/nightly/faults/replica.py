"""A replica of inference, which production has at the URLs that the API knows."""

import subprocess
from urllib.parse import urlsplit

import httpx

from tests.nightly.faults.stage import START_S, Stage
from tests.support import processes
from tests.support.processes import wait_for


class Replica:
    """A process that can be killed and started again at the same URL."""

    def __init__(self, stage: Stage, url: str) -> None:
        self._stage = stage
        self._url = url
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Start it; it answers a little later."""
        port = str(urlsplit(self._url).port)
        self._process = self._stage.site.start("worker.inference", PERENNIAL_INFERENCE_PORT=port)

    def wait(self) -> None:
        """Return once it answers."""

        def answers() -> bool:
            try:
                return httpx.get(f"{self._url}/healthz", trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_for(answers, seconds=START_S)

    def kill(self) -> None:
        """Send SIGKILL."""
        processes.kill(self._process)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._process.terminate()
        processes.wait_for_exit(self._process)
