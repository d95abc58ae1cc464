"""Envelopes and statements: what is signed, and what cannot be read."""

import json
from base64 import urlsafe_b64encode

import pytest

from core.bundles.rules import Envelope, Signature, Statement, encode_before_signing
from core.errors import BundleInvalid
from core.values import Digest, canonical_json


def test_signatures_are_over_the_encoding_of_dsse() -> None:
    """The example of DSSE's protocol.md, whose lengths are in bytes."""
    found = encode_before_signing("http://example.com/HelloWorld", b"hello world")
    assert found == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert encode_before_signing("é", b"") == b"DSSEv1 2 \xc3\xa9 0 "


def test_an_envelope_is_read_as_it_was_written_in_both_alphabets() -> None:
    signature = Signature(key_id="k", value=b"\xfb\xff\xfe")
    envelope = Envelope(payload=b"\xfb\xff{}", signatures=(signature,))
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
    value = json.loads(envelope.to_bytes())
    value["payload"] = urlsafe_b64encode(envelope.payload).decode()
    del value["signatures"][0]["keyid"]
    found = Envelope.from_bytes(json.dumps(value).encode())
    assert (found.payload, found.signatures[0].value) == (envelope.payload, signature.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"payloadType": "text/plain", "payload": "", "signatures": []}',
        b'{"payloadType": "application/vnd.in-toto+json", "payload": "?", "signatures": []}',
        b'{"payloadType": "application/vnd.in-toto+json", "payload": 3, "signatures": []}',
        b'{"payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": [3]}',
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(BundleInvalid):
        Envelope.from_bytes(data)


def test_a_statement_is_read_as_it_was_written() -> None:
    statement = Statement(files={"b": Digest("0" * 64), "a": Digest("1" * 64)}, predicate={"n": 1})
    written = statement.to_bytes()
    assert Statement.from_bytes(written) == statement
    value = json.loads(written)
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["subject"][0] == {"name": "a", "digest": {"sha256": "1" * 64}}


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"predicate": []},
        {"subject": [{"name": "a"}]},
        {"subject": [{"name": "a", "digest": {"sha256": "0"}}] * 2},
        {"subject": 1},
    ],
)
def test_another_statement_is_refused(change: dict[str, object]) -> None:
    value = json.loads(Statement(files={}, predicate={}).to_bytes())
    with pytest.raises(BundleInvalid):
        Statement.from_bytes(canonical_json(value | change))
