"""Messages in a folder, as a full disk or a killed sender leaves it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.jobs.broker import CeleryNotifier, name_of
from core.jobs.orders import Queue
from core.settings import Settings
from tests.support.processes import wait_for
from tests.support.servers.celery_worker import JOB, gets_another, listening

# A worker that runs as root is told off; worker.__main__ has an answer.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def notifier(settings: Settings) -> Iterator[CeleryNotifier]:
    with closing(CeleryNotifier(settings)) as notifier:
        yield notifier


def test_a_message_written_in_part_is_dropped_and_the_next_is_heard(
    settings: Settings, notifier: CeleryNotifier
) -> None:
    notifier.notify(JOB, Queue.GPU)
    folder = settings.home / "broker"
    (whole,) = folder.glob("*.msg")
    half = whole.read_bytes()[:100]
    for number, written in enumerate([b"", half]):
        (folder / f"{number}_in_part.{name_of(Queue.GPU)}.msg").write_bytes(written)
    with listening(settings, lambda: None) as heard:
        wait_for(lambda: heard and not [*folder.glob("*.msg")], seconds=20)  # in any order
    assert heard == [JOB]


@pytest.mark.parametrize("written", [b"", b'[["perennial.'])
def test_an_exchange_written_in_part_is_written_again_by_the_next_worker(
    settings: Settings, notifier: CeleryNotifier, written: bytes
) -> None:
    notifier.notify(JOB, Queue.GPU)
    exchange = settings.home / "broker/control" / f"{name_of(Queue.GPU)}.exchange"
    whole = exchange.read_bytes()
    exchange.write_bytes(written)
    notifier.notify(JOB, Queue.GPU)  # raises nothing
    with listening(settings, lambda: None) as heard:
        gets_another(notifier, heard)
    assert exchange.read_bytes() == whole
