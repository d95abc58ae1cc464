"""The statement of a bundle: the digests of its files and what they are (in-toto Statement v1)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.values import Digest, Json, canonical_json
from core.errors import BundleInvalid

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:perennial:predicate:version:v1"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """The files of a bundle by name, and the predicate about them."""

    files: Mapping[str, Digest]
    predicate: Json

    def to_bytes(self) -> bytes:
        """Return the statement as canonical JSON."""
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": name, "digest": {"sha256": digest}}
                    for name, digest in sorted(self.files.items())
                ],
                "predicateType": PREDICATE_TYPE,
                "predicate": self.predicate,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Statement":
        """Return the statement that JSON holds. Raises BundleInvalid."""
        try:
            value = json.loads(data)
            kind = (value["_type"], value["predicateType"])
            if kind != (STATEMENT_TYPE, PREDICATE_TYPE):
                raise BundleInvalid(
                    "The signed statement is not about a version, or is of a later release.",
                    predicate_type=str(kind[1])[:200],
                )
            subjects = value["subject"]
            files = {str(one["name"]): Digest(one["digest"]["sha256"]) for one in subjects}
            if len(files) < len(subjects) or not isinstance(value["predicate"], dict):
                raise BundleInvalid("The signed statement names a file twice, or says nothing.")
            return cls(files=files, predicate=value["predicate"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BundleInvalid("The signed statement cannot be read.") from error
