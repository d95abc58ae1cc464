"""Calls that concurrent callers share: who goes with whom, what waits, and what fails."""

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from threading import Event

import pytest

from api.shared_calls import SharedCalls
from core.errors import InferenceBusy, InferenceUnavailable


class Caller:
    """Takes calls, each of which waits until it is let go; results are the images themselves."""

    def __init__(self, **limits: int) -> None:
        self.calls: list[tuple[str, list[bytes], list[str]]] = []
        self.begun, self.go = Event(), Event()
        self.error: Exception | None = None
        self.shared: SharedCalls[str, bytes] = SharedCalls(
            self.call, most=lambda _: 4, **{"at_once": 1, **limits}
        )

    def call(self, key: str, images: Sequence[bytes], labels: Sequence[str]) -> Sequence[bytes]:
        self.calls.append((key, list(images), list(labels)))
        self.begun.set()
        assert self.go.wait(30)
        if self.error:
            raise self.error
        return images

    def occupy(self) -> "Future[Sequence[bytes]]":
        """Begin a call, so that what comes next waits."""
        first = self.shared.submit("first", [b"0"], "0")
        assert self.begun.wait(30)
        return first


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    made.go.set()
    made.shared.close()


def test_a_single_caller_waits_for_nobody(caller: Caller) -> None:
    caller.go.set()
    assert caller.shared.submit("a", [b"1", b"2"], "x").result(30) == [b"1", b"2"]
    assert caller.calls == [("a", [b"1", b"2"], ["x"])]


def test_what_arrives_during_a_call_shares_the_next_one(caller: Caller) -> None:
    first = caller.occupy()
    others = [caller.shared.submit("a", [image], image.decode()) for image in (b"1", b"2", b"3")]
    caller.go.set()
    assert [future.result(30) for future in (first, *others)] == [[b"0"], [b"1"], [b"2"], [b"3"]]
    assert caller.calls[1:] == [("a", [b"1", b"2", b"3"], ["1", "2", "3"])]


def test_a_call_is_about_one_question_and_no_larger_than_allowed(caller: Caller) -> None:
    caller.occupy()
    waiting = [
        caller.shared.submit(key, [key.encode()] * count, key)
        for key, count in (("a", 3), ("b", 1), ("a", 2), ("a", 1), ("b", 1))
    ]
    caller.go.set()
    assert [len(future.result(30)) for future in waiting] == [3, 1, 2, 1, 1]
    assert [(key, len(images)) for key, images, _ in caller.calls[1:]] == [
        ("a", 4),  # 3 and 1: 2 did not fit
        ("b", 2),
        ("a", 2),
    ]


def test_a_failed_call_fails_for_its_callers_and_no_others(caller: Caller) -> None:
    caller.error = InferenceUnavailable()
    first = caller.occupy()
    caller.go.set()
    with pytest.raises(InferenceUnavailable):
        first.result(30)
    caller.error = None
    assert caller.shared.submit("a", [b"1"], "x").result(30) == [b"1"]


@pytest.mark.parametrize("limits", [{"max_waiting": 3}, {"max_waiting_bytes": 3}])
def test_more_than_may_wait_is_refused_until_there_is_room_again(limits: dict[str, int]) -> None:
    caller = Caller(**limits)
    caller.occupy()
    waiting = caller.shared.submit("a", [b"1", b"2"], "x")
    with pytest.raises(InferenceBusy):
        caller.shared.submit("a", [b"3"], "y")
    caller.go.set()
    waiting.result(30)
    caller.shared.close()  # the thread has counted what is answered
    assert (caller.shared._images, caller.shared._bytes) == (0, 0)


def test_an_empty_queue_takes_a_request_beyond_its_limit() -> None:
    caller = Caller(max_waiting=1)
    caller.go.set()
    assert len(caller.shared.submit("a", [b"1", b"2"], "x").result(30)) == 2
    caller.shared.close()


def test_who_has_gone_is_not_asked_for(caller: Caller) -> None:
    caller.occupy()
    gone, here = (caller.shared.submit("a", [image], "x") for image in (b"1", b"2"))
    gone.cancel()
    caller.go.set()
    assert here.result(30) == [b"2"]
    assert caller.calls[1][1] == [b"2"]


def test_closing_lets_a_call_end_and_gives_up_what_waits() -> None:
    caller = Caller()
    first = caller.occupy()
    waiting = caller.shared.submit("a", [b"1"], "x")
    caller.go.set()
    caller.shared.close()
    assert first.result(30) == [b"0"]
    assert waiting.cancelled() or waiting.result(30) == [b"1"]
    with pytest.raises((CancelledError, RuntimeError)):
        caller.shared.submit("a", [b"2"], "x").result(30)
