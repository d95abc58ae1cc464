"""Messages on a real Redis that is killed or hung, and in a folder that a killed sender left."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from celery.signals import task_received

from core.jobs.broker import TASK, BackgroundNotifier, CeleryNotifier, name_of
from core.jobs.orders import Queue
from core.settings import Settings
from core.values import JobId
from devtools.servers import RedisServer, redis_server
from tests.support.processes import wait_for
from tests.support.servers.celery_worker import JOB, WAKE_S, gets_another, listening

UNWARNED = pytest.mark.filterwarnings("ignore")  # worker.__main__ has an answer to each


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def notifier(server: RedisServer, tmp_path: Path) -> Iterator[CeleryNotifier]:
    with server.client() as client:
        client.flushall()
    with closing(CeleryNotifier(Settings(home=tmp_path, broker_url=server.url))) as notifier:
        yield notifier


@UNWARNED
def test_a_worker_whose_broker_died_with_a_message_on_its_way_gets_the_next(
    server: RedisServer, notifier: CeleryNotifier, tmp_path: Path
) -> None:
    def die(**_: object) -> None:
        task_received.disconnect(die)
        server.kill()

    with listening(Settings(home=tmp_path, broker_url=server.url), lambda: None) as heard:
        task_received.connect(die)
        notifier.notify(JOB, Queue.GPU)
        wait_for(lambda: heard, seconds=WAKE_S)
        server.start()
        gets_another(notifier, heard)


def test_notifying_a_broker_that_takes_connections_and_never_answers_does_not_wait(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"redis://127.0.0.1:{deaf.getsockname()[1]}/0"
        celery = CeleryNotifier(Settings(home=tmp_path, broker_url=url))
        background = BackgroundNotifier(celery)
        began = time.monotonic()
        for _ in range(1000):
            background.notify(JOB, Queue.GPU)
        assert time.monotonic() - began < 0.5
        background.close()
        assert time.monotonic() - began < 6


def test_messages_beyond_the_bound_are_dropped() -> None:
    class Slow:
        def __init__(self) -> None:
            self.heard = 0
            self.go = Event()

        def notify(self, _: JobId, queue: Queue) -> None:
            self.heard += 1
            self.go.wait(10)
            raise ValueError("of a kind that nobody foresaw")  # the thread goes on

    slow = Slow()
    background = BackgroundNotifier(slow, most_waiting=2)
    background.notify(JOB, Queue.GPU)
    wait_for(lambda: slow.heard, seconds=5)
    for _ in range(10):
        background.notify(JOB, Queue.GPU)
    slow.go.set()
    background.close()
    assert slow.heard == 3


def test_a_notification_is_a_message_with_the_jobs_id(tmp_path: Path) -> None:
    notifier = CeleryNotifier(Settings(home=tmp_path))
    notifier.notify(JobId("job_1"), Queue.HOUSEKEEPING)
    notifier.close()
    (path,) = (tmp_path / "broker").glob("*.msg")
    message = json.loads(path.read_text())
    arguments, _, _ = json.loads(base64.b64decode(message["body"]))
    assert message["headers"]["task"] == TASK
    assert arguments == ["job_1"]
    assert message["properties"]["delivery_info"]["routing_key"] == "perennial.housekeeping"


def test_a_broker_that_is_away_raises_nothing(tmp_path: Path) -> None:
    notifier = CeleryNotifier(Settings(home=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    notifier.notify(JobId("job_1"), Queue.HOUSEKEEPING)
    notifier.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def folder_notifier(settings: Settings) -> Iterator[CeleryNotifier]:
    with closing(CeleryNotifier(settings)) as notifier:
        yield notifier


@UNWARNED
def test_a_message_written_in_part_is_dropped_and_the_next_is_heard(
    settings: Settings, folder_notifier: CeleryNotifier
) -> None:
    folder_notifier.notify(JOB, Queue.GPU)
    folder = settings.home / "broker"
    (whole,) = folder.glob("*.msg")
    half = whole.read_bytes()[:100]
    for number, written in enumerate([b"", half]):
        (folder / f"{number}_in_part.{name_of(Queue.GPU)}.msg").write_bytes(written)
    with listening(settings, lambda: None) as heard:
        wait_for(lambda: heard and not [*folder.glob("*.msg")], seconds=20)  # in any order
    assert heard == [JOB]


@UNWARNED
@pytest.mark.parametrize("written", [b"", b'[["perennial.'])
def test_an_exchange_written_in_part_is_written_again_by_the_next_worker(
    settings: Settings, folder_notifier: CeleryNotifier, written: bytes
) -> None:
    folder_notifier.notify(JOB, Queue.GPU)
    exchange = settings.home / "broker/control" / f"{name_of(Queue.GPU)}.exchange"
    whole = exchange.read_bytes()
    exchange.write_bytes(written)
    folder_notifier.notify(JOB, Queue.GPU)  # raises nothing
    with listening(settings, lambda: None) as heard:
        gets_another(folder_notifier, heard)
    assert exchange.read_bytes() == whole
