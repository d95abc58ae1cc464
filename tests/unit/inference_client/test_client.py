"""The client of the inference process: replicas that fail, and bodies of requests and replies."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from api.inference_client import client as replicas
from api.inference_client.client import Inference
from api.inference_client.questions import EmbedTexts
from core.errors import InferenceUnavailable, Malformed
from core.inference.wire import read_embedded, read_request, write_request
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
