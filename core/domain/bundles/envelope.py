"""Signed bytes in an envelope: DSSE 1.0 (github.com/secure-systems-lab/dsse, envelope and PAE)."""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass

from core.domain.values import canonical_json
from core.errors import BundleInvalid

PAYLOAD_TYPE = "application/vnd.in-toto+json"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature, and the id of the key that is said to have made it."""

    key_id: str
    value: bytes


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A payload with its signatures."""

    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def signed(self) -> bytes:
        """The bytes that the signatures are over."""
        return encode_before_signing(PAYLOAD_TYPE, self.payload)

    def to_bytes(self) -> bytes:
        """Return the envelope as JSON."""
        return canonical_json(
            {
                "payload": b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [
                    {"keyid": one.key_id, "sig": b64encode(one.value).decode()}
                    for one in self.signatures
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Envelope":
        """Return the envelope that JSON holds. Raises BundleInvalid."""
        try:
            value = json.loads(data)
            if value["payloadType"] != PAYLOAD_TYPE:
                raise BundleInvalid("The bundle's envelope holds something else than a statement.")
            return cls(
                payload=_decoded(value["payload"]),
                signatures=tuple(
                    Signature(key_id=str(one.get("keyid", "")), value=_decoded(one["sig"]))
                    for one in value["signatures"]
                ),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BundleInvalid("The bundle's envelope cannot be read.") from error


def encode_before_signing(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, over which signatures are made."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _decoded(text: str) -> bytes:
    """Return the bytes of base64, in either alphabet, as DSSE asks of those who read."""
    return b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
