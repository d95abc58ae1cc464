"""Bodies of requests to the inference process."""

import struct

import pytest

from core.errors import InferenceUnavailable, Malformed
from core.inference.wire import read_embedded, read_request, write_request

HEAD = {"digest": "0" * 64, "top_k": 5, "texts": "é"}


def test_what_is_written_is_read() -> None:
    head, pixels = read_request(write_request(HEAD, [b"first", b"", b"second"]))
    assert (head, bytes(pixels)) == (HEAD, b"firstsecond")


def test_a_body_that_is_cut_off_within_its_head_is_refused() -> None:
    body = write_request(HEAD)
    for size in range(len(body)):
        with pytest.raises(Malformed):
            read_request(body[:size])


def test_a_head_that_is_no_object_is_refused() -> None:
    endless = b'{"top_k": ' + b"9" * 5000 + b"}"
    for text in (b"", b"[]", b"NaN", endless, b"[" * 100_000, b"\xff", b"{}}"):
        with pytest.raises(Malformed):
            read_request(struct.pack(">I", len(text)) + text)


def test_a_length_beyond_the_body_is_refused() -> None:
    body = bytearray(write_request({}, [b" " * 100]))
    body[:4] = struct.pack(">I", 2**32 - 1)
    with pytest.raises(Malformed):
        read_request(body)


def test_a_reply_with_another_number_of_vectors_is_not_taken_apart() -> None:
    with pytest.raises(InferenceUnavailable):
        read_embedded(b"1234567", 2)
