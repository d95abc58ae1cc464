"""Signatures by Ed25519 (RFC 8032), which are deterministic."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from core.bundles.rules import Envelope, PublicKey, Signature, Signer
from core.errors import BundleNotTrusted, SigningKeyMissing, UnsafeConfiguration
from core.values import sha256


@dataclass(frozen=True, kw_only=True)
class TrustedKey:
    """A public key with its id and the operator's name for it."""

    name: str
    key_id: str
    key: Ed25519PublicKey


class Signatures:
    """Signs with one key, if there is one, and verifies with others."""

    def __init__(self, private: str, trusted: Mapping[str, str]) -> None:
        """Read the keys: PKCS #8 and SubjectPublicKeyInfo (RFC 8410), in base64.

        Raises UnsafeConfiguration, which quotes no key.
        """
        self._private = _read_private(private) if private else None
        self._trusted = [_read_public(name, text) for name, text in trusted.items()]

    def public_key(self) -> PublicKey:
        """Return the public half of the key that signs. Raises SigningKeyMissing."""
        public = self._signing().public_key()
        encoded = _encoded(public)
        return PublicKey(
            key_id=sha256(encoded),
            encoded=b64encode(encoded).decode(),
            pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        )

    def sign(self, payload: bytes) -> Envelope:
        """Return a payload with one signature. Raises SigningKeyMissing."""
        key = self._signing()
        value = key.sign(Envelope(payload=payload).signed)
        signature = Signature(key_id=sha256(_encoded(key.public_key())), value=value)
        return Envelope(payload=payload, signatures=(signature,))

    def signer_of(self, envelope: Envelope) -> Signer:
        """Return the first trusted key of which a signature is valid. Raises BundleNotTrusted.

        The ids in an envelope are hints that nobody has signed, so every key is tried.
        """
        for trusted in self._trusted:
            if any(_is_valid(trusted.key, one, envelope) for one in envelope.signatures):
                return Signer(name=trusted.name, key_id=trusted.key_id)
        raise BundleNotTrusted(keys=[one.key_id[:64] for one in envelope.signatures[:8]])

    def _signing(self) -> Ed25519PrivateKey:
        if self._private is None:
            raise SigningKeyMissing
        return self._private


def _is_valid(key: Ed25519PublicKey, signature: Signature, envelope: Envelope) -> bool:
    try:
        key.verify(signature.value, envelope.signed)
    except InvalidSignature:
        return False
    return True


def _read_private(text: str) -> Ed25519PrivateKey:
    try:
        key = load_der_private_key(b64decode(text, validate=True), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnsafeConfiguration(
            "PERENNIAL_SIGNING_KEY must be an Ed25519 key, PKCS #8 in base64: openssl genpkey "
            "-algorithm ed25519 -outform DER | base64 -w0"
        )
    return key


def _read_public(name: str, text: str) -> TrustedKey:
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UnsafeConfiguration(
            f"PERENNIAL_TRUSTED_KEYS: {name!r} must be an Ed25519 public key in base64, as "
            "`perennial signing-key` of the other service prints it."
        )
    return TrustedKey(name=name, key_id=sha256(_encoded(key)), key=key)


def _encoded(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
