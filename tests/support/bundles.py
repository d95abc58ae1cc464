"""Keys that sign bundles, and bundles as a service makes them."""

import io
import tarfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from core.bundles.rules import ENVELOPE_FILE, Envelope, Statement
from core.bundles.signing import Signatures
from core.values import sha256
from tests.support.api.archives import tarred

Files = dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A key pair as the settings take it."""

    private: str
    public: str

    @classmethod
    def of(cls, seed: int) -> "KeyPair":
        """Return the pair that a byte stands for."""
        key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(private=b64encode(private).decode(), public=b64encode(public).decode())


OURS, THEIRS = KeyPair.of(1), KeyPair.of(2)


def unpacked(tar: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return {
            entry.name.partition("/")[2]: archive.extractfile(entry).read()  # type: ignore[union-attr]
            for entry in archive
        }


def packed(files: Mapping[str, bytes], folder: str = "demo-2/") -> bytes:
    """A tar of files in a folder, in their order."""
    return tarred({folder + name: data for name, data in files.items()})


def signed_again(
    files: Mapping[str, bytes],
    *,
    key: KeyPair = THEIRS,
    change: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Files:
    """Files with a statement that names them as they are, its predicate changed, and signed."""
    first = Statement.from_bytes(Envelope.from_bytes(files[ENVELOPE_FILE]).payload)
    predicate: Any = dict(first.predicate)
    change(predicate)
    rest = {name: data for name, data in files.items() if name != ENVELOPE_FILE}
    named = {name: sha256(data) for name, data in rest.items()}
    statement = Statement(files=named, predicate=predicate)
    envelope = Signatures(key.private, {}).sign(statement.to_bytes())
    return {ENVELOPE_FILE: envelope.to_bytes(), **rest}
