"""Signatures, and keys as openssl writes them."""

import subprocess
from base64 import b64encode
from dataclasses import replace

import pytest

from core.bundles.rules import Envelope, Signature
from core.bundles.signing import Signatures
from core.errors import BundleNotTrusted, SigningKeyMissing, UnsafeConfiguration
from tests.support.bundles import OURS, THEIRS


def test_a_trusted_key_is_known_by_the_operators_name_whatever_the_envelope_says() -> None:
    theirs = Signatures(THEIRS.private, {})
    envelope = theirs.sign(b"{}")
    assert envelope == theirs.sign(b"{}")
    assert envelope.signatures[0].key_id == theirs.public_key().key_id
    assert theirs.public_key().encoded == THEIRS.public
    ours = Signatures("", {"own": OURS.public, "lab": THEIRS.public})
    renamed = replace(envelope.signatures[0], key_id="unheard of")
    other = Signature(key_id="", value=b"short")
    signer = ours.signer_of(replace(envelope, signatures=(other, renamed)))
    assert (signer.name, signer.key_id) == ("lab", theirs.public_key().key_id)


def test_nothing_else_is_trusted() -> None:
    theirs, ours = Signatures(THEIRS.private, {}), Signatures("", {"a": OURS.public})
    envelope = theirs.sign(b"{}")
    for changed in (envelope, replace(envelope, payload=b"{ }"), Envelope(payload=b"{}")):
        with pytest.raises(BundleNotTrusted):
            ours.signer_of(changed)
    with pytest.raises(BundleNotTrusted):
        Signatures(THEIRS.private, {}).signer_of(envelope)  # its own key is not in the list
    with pytest.raises(SigningKeyMissing):
        ours.sign(b"{}")


def test_keys_are_those_of_openssl() -> None:
    def openssl(*words: str, given: bytes = b"") -> bytes:
        return subprocess.run(
            ["openssl", *words], input=given, check=True, capture_output=True
        ).stdout

    private = openssl("genpkey", "-algorithm", "ed25519", "-outform", "DER")
    public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", given=private)
    made = Signatures(b64encode(private).decode(), {})
    assert made.public_key().encoded == b64encode(public).decode()


@pytest.mark.parametrize("text", ["?", "AAAA", OURS.public])
def test_another_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(UnsafeConfiguration, match="openssl genpkey") as refusal:
        Signatures(text, {})
    assert text not in str(refusal.value)
    with pytest.raises(UnsafeConfiguration, match="'lab'"):
        Signatures("", {"lab": OURS.private})
