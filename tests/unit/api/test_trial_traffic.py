"""The work behind the answers of a trial is bounded, and none of it is lost."""

from collections.abc import Iterator, Sequence
from threading import Event, Lock, Timer
from typing import Any

import pytest

from api import trial_traffic as recording
from api.background_writer import BackgroundWriter
from api.trial_traffic import Originals, SampleKeeper, Shadow, ShadowQuestion, trial_recorder
from core.errors import (
    DatabaseUnavailable,
    ImageCorrupt,
    InferenceBusy,
    NotServable,
    PerennialError,
)
from core.platform import Platform
from core.trials.record import Batch
from core.trials.rules import Shadowed
from core.values import PredictionId, TrialId
from tests.support.factories import a_prediction
from tests.support.processes import wait_for

Counts = dict[str, int]
Recorder = BackgroundWriter[Batch]


class Book:
    """Takes the place of the database: it keeps what is written, or fails."""

    def __init__(self) -> None:
        self.written: list[Counts] = []
        self.fault: Exception | None = None

    def write(self, counts: Counts) -> None:
        if self.fault is not None:
            raise self.fault
        self.written.append(counts)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def writer(book: Book) -> Iterator[BackgroundWriter[Counts]]:
    made = BackgroundWriter("counts", book.write, every_s=60.0, most=3)
    yield made
    made.close()


def test_entries_wait_in_their_order_while_the_database_is_down_and_the_newest_are_lost_beyond_most(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    book.fault = DatabaseUnavailable()
    for entries in ({"a": 1}, {"b": 1}):
        writer.add(entries)
        with pytest.raises(DatabaseUnavailable):
            writer.flush()
    writer.add({"c": 1, "d": 1})  # four are more than may wait
    writer.add({"a": 2, "c": 2})
    book.fault = None
    writer.close()
    assert book.written == [{"a": 2, "b": 1, "c": 2}]


def test_an_unexpected_error_loses_its_batch_and_holds_up_nothing(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    book.fault = ValueError()
    writer.add({"a": 1})
    writer.flush()
    book.fault = None
    writer.add({"b": 1})
    writer.close()
    assert book.written == [{"b": 1}]


def test_a_failed_write_that_meets_newer_entries_keeps_its_own_first(
    book: Book, writer: BackgroundWriter[Counts]
) -> None:
    def write(counts: Counts) -> None:
        writer.add({"a": 2, "b": 2})  # while the write is under way
        raise DatabaseUnavailable

    writer._write = write
    writer.add({"a": 1})
    with pytest.raises(DatabaseUnavailable):
        writer.flush()
    writer._write = book.write
    writer.close()
    assert book.written == [{"a": 2, "b": 2}]


class Writes:
    """Takes the place of the database: it notes what is written."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.lock = Lock()

    def __call__(self, _platform: Platform, batch: Batch) -> None:
        with self.lock:
            self.batches.append(batch)

    def outcomes(self) -> list[Shadowed]:
        with self.lock:
            return [one.outcome for batch in self.batches for one in batch.shadows.values()]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    made = Writes()
    monkeypatch.setattr(recording, "record_predictions", made)
    return made


@pytest.fixture
def recorder(writes: Writes) -> Iterator[Recorder]:
    made = trial_recorder(None)  # type: ignore[arg-type]
    yield made
    made.close()


class Slow:
    """An inference process that answers when it may."""

    def __init__(self) -> None:
        self.may = Event()
        self.refusal: PerennialError | None = None

    def classify(self, _: Any, images: Sequence[bytes], *, top_k: int) -> list[Any]:
        assert self.may.wait(10)
        if self.refusal is not None:
            raise self.refusal
        return [[{"class": "boot", "probability": 1.0}][:top_k] for _ in images]


def question(images: int) -> ShadowQuestion:
    made = [PredictionId(a_prediction().id) for _ in range(images)]
    return ShadowQuestion(predictions=made, pixels=[b"123"] * images, request=lambda: None)  # type: ignore[arg-type,return-value]


def test_images_for_which_there_is_no_room_are_dropped_and_counted(
    writes: Writes, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_IMAGES", 5)
    monkeypatch.setattr(recording, "MAX_BYTES", 12)
    slow = Slow()
    shadow = Shadow(slow, recorder, None)  # type: ignore[arg-type]
    for images in (3, 1, 2):  # 3 and 1 fit: 12 bytes
        shadow.ask(question(images))
    slow.may.set()
    wait_for(lambda: len(writes.outcomes()) == 6, seconds=10)
    assert writes.outcomes().count(Shadowed.DROPPED) == 2
    shadow.ask(question(5))  # all others have been answered, so there is room for any
    wait_for(lambda: len(writes.outcomes()) == 11, seconds=10)
    assert writes.outcomes().count(Shadowed.ANSWERED) == 9
    shadow.close()


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [(InferenceBusy(), Shadowed.DROPPED), (NotServable(), Shadowed.FAILED)],
)
def test_a_candidate_that_does_not_answer_is_counted(
    writes: Writes, recorder: Recorder, refusal: PerennialError, outcome: Shadowed
) -> None:
    slow = Slow()
    slow.refusal = refusal
    slow.may.set()
    shadow = Shadow(slow, recorder, None)  # type: ignore[arg-type]
    shadow.ask(question(2))
    wait_for(lambda: writes.outcomes() == [outcome] * 2, seconds=10)
    shadow.close()


def test_images_that_still_wait_when_the_process_ends_are_counted_as_dropped(
    writes: Writes, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "THREADS", 1)
    slow = Slow()
    shadow = Shadow(slow, recorder, None)  # type: ignore[arg-type]
    for _ in range(3):  # one call is in progress, two wait
        shadow.ask(question(2))
    Timer(0.3, slow.may.set).start()
    shadow.close()
    recorder.close()
    assert sorted(writes.outcomes()) == [Shadowed.ANSWERED] * 2 + [Shadowed.DROPPED] * 4


def test_a_sample_that_cannot_be_kept_fails_nothing_and_is_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[bytes] = []

    def keep(_: Platform, __: Any, data: bytes, **___: Any) -> bool:
        tried.append(data)
        if data == b"bad":
            raise ImageCorrupt
        if data == b"worse":
            raise ValueError
        return data != b"last"

    images = [b"bad", b"worse", b"", b"same", b"agreed", b"last", b"late"]
    monkeypatch.setattr(recording, "keep_sample", keep)
    keeper = SampleKeeper(None, None)  # type: ignore[arg-type]
    made = [PredictionId(f"pred_{number}") for number in range(len(images))]
    answers = ["bag"] * 4 + ["Boot"] + ["bag"] * 2
    originals = Originals(trial=TrialId("trial_1"), images=images, answers=answers)
    for _ in range(2):
        keeper.keep(originals, made, ["boot"] * len(images))
    assert tried == [b"bad", b"worse", b"same", b"last"]
