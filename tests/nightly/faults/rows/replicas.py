"""SIGKILL of one of two replicas of inference under load: every request is answered."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from time import sleep
from urllib.parse import urlsplit

import httpx

from tests.nightly.faults import line
from tests.nightly.faults.stage import KEY, START_S, Stage, now
from tests.nightly.faults.tries import Try
from tests.support.api.image_files import picture
from tests.support.processes import kill, wait_for, wait_for_exit

CLIENTS = 4
LOAD_S = 1.5  # before and after the kill
CLASSES = json.dumps(["circle", "square"])


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
        kill(self._process)

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._process.terminate()
        wait_for_exit(self._process)


@dataclass
class Load:
    """The answers to clients that ask without a pause."""

    statuses: list[tuple[float, int]] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)
    ended: Event = field(default_factory=Event)

    def ask(self, stage: Stage) -> None:
        """Classify until the end."""
        headers = {"Authorization": f"Bearer {KEY}"}
        files = [("images", ("a.png", picture(7, side=64)))]
        with httpx.Client(
            base_url=stage.client.base_url, headers=headers, timeout=60, trust_env=False
        ) as client:
            while not self.ended.is_set():
                answer = client.post(
                    f"/v1/models/{line.MODEL}/classify", files=files, data={"classes": CLASSES}
                )
                self.statuses.append((now(), answer.status_code))
                if answer.is_success:
                    self.digests.add(answer.json()["digest"])


def run(stage: Stage, tries: int, moments: Random) -> Iterator[Try]:
    """Kill the replicas by turns, and start each again."""
    stage.ready()
    urls = stage.settings.inference_replicas
    with ExitStack() as stack:
        running = {url: Replica(stage, url) for url in urls}
        for replica in running.values():
            stack.callback(replica.stop)
            replica.wait()
        for number in range(tries):
            victim = urls[number % len(urls)]
            with _loaded(stage) as load:
                sleep(LOAD_S + 0.2 * moments.random())
                running[victim].kill()
                struck = now()
                sleep(LOAD_S)
                running[victim].start()
                running[victim].wait()
                sleep(LOAD_S)
            yield _judged(stage, load, struck, victim)


def _judged(stage: Stage, load: Load, struck: float, victim: str) -> Try:
    failed = [status for _, status in load.statuses if status != 200]
    after = [at for at, _ in load.statuses if at > struck]
    live = stage.client.get(f"/v1/models/{line.MODEL}/aliases/production").json()["version"]
    wanted = stage.client.get(f"/v1/models/{line.MODEL}/versions/{live}").json()["digest"]
    trouble = f"{len(failed)} of {len(load.statuses)} were answered with {set(failed)}"
    return Try(
        what=f"{victim}, {len(load.statuses)} requests",
        trouble=trouble if failed else "",
        lost=len(failed),
        equal=load.digests == {wanted},
        recovery_s=min(after) - struck if after else None,
    )


@contextmanager
def _loaded(stage: Stage) -> Iterator[Load]:
    load = Load()
    clients = [Thread(target=load.ask, args=[stage]) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        load.ended.set()
        for client in clients:
            client.join()
