"""The port for signatures: this service's key, and the keys that it trusts."""

from dataclasses import dataclass
from typing import Protocol

from core.domain.bundles.envelope import Envelope


@dataclass(frozen=True, kw_only=True)
class PublicKey:
    """The public half of the service's key."""

    key_id: str  # SHA-256 of the SubjectPublicKeyInfo, in hex
    encoded: str  # SubjectPublicKeyInfo in base64
    pem: str


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A trusted key that has signed something."""

    name: str  # the operator's
    key_id: str


class Signatures(Protocol):
    def public_key(self) -> PublicKey:
        """Return the public key of this service. Raises SigningKeyMissing."""

    def sign(self, payload: bytes) -> Envelope:
        """Return a payload with this service's signature, always the same. See `public_key`."""

    def signer_of(self, envelope: Envelope) -> Signer:
        """Return the trusted key that has signed an envelope. Raises BundleNotTrusted."""
