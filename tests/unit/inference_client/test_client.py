"""The client of the inference process: replicas that fail, bodies, and calls that are shared."""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from starlette.responses import Response

from api.inference_client import client as replicas
from api.inference_client.client import Inference
from api.inference_client.questions import EmbedTexts, PixelBudget, SharedCalls
from core.errors import InferenceBusy, InferenceUnavailable, Malformed
from core.inference.wire import (
    DEVICE,
    Embedded,
    read_embedded,
    read_request,
    write_embedded,
    write_request,
)
from core.values import sha256
from devtools.ports import free_port
from tests.support.api.oracle import Oracle, an_oracle, settings_with, vector_of


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with an_oracle() as made:
        yield made


@pytest.fixture
def inference(oracle: Oracle, tmp_path: Path) -> Iterator[Inference]:
    made = Inference(settings_with(oracle, tmp_path))
    yield made
    made.close()


def embed_each(inference: Inference, count: int) -> list[bytes]:
    """The vectors of some texts, each asked for by itself."""
    question = EmbedTexts(digest=sha256(b"a version"), most=1)

    async def embed() -> list[bytes]:
        found = [await inference.embed(question, [b"%d" % number]) for number in range(count)]
        return [vector for ((vector, _),) in found]

    return asyncio.run(embed())


def test_a_call_whose_connection_breaks_is_made_again_at_another_replica(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "AVOIDED_S", 600)
    broken = 0

    def break_connections(listener: socket.socket) -> None:
        nonlocal broken
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(1)
                broken += 1
                connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=break_connections, args=[listener], daemon=True)
        thread.start()
        dying, gone = listener.getsockname()[1], free_port()
        urls = f"http://127.0.0.1:{dying} http://127.0.0.1:{gone} {oracle.url}"
        settings = settings_with(oracle, tmp_path).model_copy(update={"inference_url": urls})
        inference = Inference(settings)
        assert embed_each(inference, 10) == [vector_of(b"%d" % number) for number in range(10)]
        inference.close()
        assert (broken, len(oracle.requests)) == (1, 10)

        alone = settings.model_copy(update={"inference_url": f"http://127.0.0.1:{gone}"})
        inference = Inference(alone)
        with pytest.raises(InferenceUnavailable):
            embed_each(inference, 1)
        inference.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


HEAD = {"digest": "0" * 64, "top_k": 5, "texts": "é"}


def test_of_calls_that_ask_the_same_two_are_under_way_once_a_gpu_has_answered(
    oracle: Oracle, inference: Inference
) -> None:
    calls = inference._calls
    embed_each(inference, 1)
    assert calls.at_once == 1
    found = write_embedded([Embedded(vector_of(b"0"), tokens=1)])
    oracle.answer = Response(found, headers={DEVICE: "cuda"})
    embed_each(inference, 1)
    assert calls.at_once == 2


def test_a_body_whose_head_is_cut_off_or_no_object_is_refused() -> None:
    whole = write_request(HEAD)
    cut_off = [whole[:size] for size in range(len(whole))]
    endless = b'{"top_k": ' + b"9" * 5000 + b"}"
    texts = (b"", b"[]", b"NaN", endless, b"[" * 100_000, b"\xff", b"{}}")
    no_object = [struct.pack(">I", len(text)) + text for text in texts]
    too_long = struct.pack(">I", 2**32 - 1) + write_request({}, [b" " * 100])[4:]
    for body in (*cut_off, *no_object, too_long):
        with pytest.raises(Malformed):
            read_request(body)


def test_a_reply_with_another_number_of_vectors_is_not_taken_apart() -> None:
    with pytest.raises(InferenceUnavailable):
        read_embedded(b"1234567", 2)


class Caller:
    """Takes calls, each of which waits until it is let go; results are the images themselves."""

    def __init__(self, **limits: int) -> None:
        self.calls: list[tuple[str, list[bytes], list[str]]] = []
        self.begun, self.go = Event(), Event()
        self.error: Exception | None = None
        self.shared: SharedCalls[str, bytes] = SharedCalls(
            self.call, most=lambda _: 4, **{"at_once": 1, "max_calls": 1, **limits}
        )

    def call(self, key: str, images: Sequence[bytes], labels: Sequence[str]) -> Sequence[bytes]:
        self.calls.append((key, list(images), list(labels)))
        self.begun.set()
        assert self.go.wait(30)
        if self.error:
            raise self.error
        return images

    def submit(self, key: str, images: Sequence[bytes], label: str) -> "Future[Sequence[bytes]]":
        (future,) = self.shared.submit(key, images, label)
        return future

    def occupy(self, key: str = "first") -> "Future[Sequence[bytes]]":
        """Begin a call, so that what comes next waits."""
        first = self.submit(key, [b"0"], "0")
        assert self.begun.wait(30)
        return first


@pytest.fixture
def caller() -> Iterator[Caller]:
    made = Caller()
    yield made
    made.go.set()
    made.shared.close()


def test_what_arrives_during_a_call_shares_the_next_one(caller: Caller) -> None:
    first = caller.occupy()
    others = [caller.submit("a", [image], image.decode()) for image in (b"1", b"2", b"3")]
    caller.go.set()
    assert [future.result(30) for future in (first, *others)] == [[b"0"], [b"1"], [b"2"], [b"3"]]
    assert caller.calls[1:] == [("a", [b"1", b"2", b"3"], ["1", "2", "3"])]


def test_a_call_is_about_one_question_and_no_larger_than_allowed(caller: Caller) -> None:
    caller.occupy()
    waiting = [
        caller.submit(key, [key.encode()] * count, key)
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
    assert caller.submit("a", [b"1"], "x").result(30) == [b"1"]


def test_a_call_that_takes_long_delays_only_those_that_ask_the_same() -> None:
    caller = Caller(max_calls=2)
    slow = caller.occupy("a new class list")
    same = caller.submit("a new class list", [b"1"], "x")
    caller.begun.clear()
    other = caller.submit("b", [b"2"], "y")
    assert caller.begun.wait(30)  # while the first call goes on
    assert [key for key, *_ in caller.calls] == ["a new class list", "b"]
    third = caller.submit("c", [b"3"], "z")
    caller.go.set()
    answers = [one.result(30) for one in (slow, same, other, third)]
    assert answers == [[b"0"], [b"1"], [b"2"], [b"3"]]
    caller.shared.close()
    assert (caller.shared._idle, len(caller.shared._calls)) == (2, 0)


def test_a_request_is_asked_in_parts_or_not_at_all() -> None:
    caller = Caller(max_waiting=6)
    caller.occupy()
    with pytest.raises(InferenceBusy):
        caller.shared.submit("a", [b"1"] * 6, "x")
    parts = caller.shared.submit("a", [b"1", b"2", b"3", b"4", b"5"], "y")
    caller.go.set()
    assert [part.result(30) for part in parts] == [[b"1", b"2", b"3", b"4"], [b"5"]]
    caller.shared.close()
    assert [len(images) for _, images, _ in caller.calls] == [1, 4, 1]
    assert (caller.shared._inputs, caller.shared._bytes) == (0, 0)


@pytest.mark.parametrize("limits", [{"max_waiting": 3}, {"max_waiting_bytes": 3}])
def test_more_than_may_wait_is_refused_until_there_is_room_again(limits: dict[str, int]) -> None:
    caller = Caller(**limits)
    caller.occupy()
    waiting = caller.submit("a", [b"1", b"2"], "x")
    with pytest.raises(InferenceBusy):
        caller.submit("a", [b"3"], "y")
    caller.go.set()
    waiting.result(30)
    while caller.shared._inputs:
        time.sleep(0.01)  # until the thread has counted what is answered
    parts = caller.shared.submit("a", [b"1"] * 5, "x")  # an empty queue takes more than its limit
    assert [len(part.result(30)) for part in parts] == [4, 1]
    caller.shared.close()
    assert (caller.shared._inputs, caller.shared._bytes) == (0, 0)


def test_a_request_that_is_alone_may_take_any_number_and_gives_back_if_it_fails() -> None:
    budget = PixelBudget(max_bytes=100)

    def fail() -> None:
        with budget.request() as take:
            take(70)
            take(70)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with budget.request() as first, budget.request() as second:
        first(50)
        second(50)


def test_what_an_answer_does_not_need_takes_half_at_most_and_leaves_the_rest_to_answers() -> None:
    budget = PixelBudget(max_bytes=100)
    with budget.request() as take, budget.request() as other:
        assert take.spare(50)
        assert not other.spare(1)
        other(50)
    with budget.request() as take:
        take(60)
        assert not take.spare(1)
    with budget.request() as take:
        assert take.spare(50)
