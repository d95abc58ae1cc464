"""The contents of a bundle: a signed statement of a version, and the header of its weights."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from core.datasets.manifests import validation_of
from core.datasets.rules import Suite
from core.errors import BundleInvalid, PerennialError
from core.gate.rules import GatePolicy
from core.recipes.fields import PromptTemplate
from core.recipes.rules import Recipe
from core.registry.versions import Model, Version
from core.values import Digest, Json, canonical_json, clean_class

# The statement: the digests of the files and what they are (in-toto Statement v1).

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:perennial:predicate:version:v1"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """The files of a bundle, or of evidence, by name, and the predicate about them."""

    files: Mapping[str, Digest]
    predicate: Json
    predicate_type: str = PREDICATE_TYPE

    def to_bytes(self) -> bytes:
        """Return the statement as canonical JSON."""
        return canonical_json(
            {
                "_type": STATEMENT_TYPE,
                "subject": [
                    {"name": name, "digest": {"sha256": digest}}
                    for name, digest in sorted(self.files.items())
                ],
                "predicateType": self.predicate_type,
                "predicate": self.predicate,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, predicate_type: str = PREDICATE_TYPE) -> "Statement":
        """Return the statement that JSON holds. Raises BundleInvalid, also for another type."""
        try:
            value = json.loads(data)
            kind = (value["_type"], value["predicateType"])
            if kind != (STATEMENT_TYPE, predicate_type):
                raise BundleInvalid(
                    "The signed statement is about something else, or is of a later release.",
                    predicate_type=str(kind[1])[:200],
                )
            subjects = value["subject"]
            files = {str(one["name"]): Digest(one["digest"]["sha256"]) for one in subjects}
            if len(files) < len(subjects) or not isinstance(value["predicate"], dict):
                raise BundleInvalid("The signed statement names a file twice, or says nothing.")
            return cls(files=files, predicate=value["predicate"], predicate_type=predicate_type)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BundleInvalid("The signed statement cannot be read.") from error


# What a bundle says of its version: the line of versions, the suites and the policy.

# Before `check.json` and all others in the order of names: the signature is checked first.
ENVELOPE_FILE = "attestation.intoto.json"


def report_file(number: int) -> str:
    """Return the name of the file with the report on a version."""
    return f"report-{number}.json"


def statistics_file(digest: Digest) -> str:
    """Return the name of the file with the feature statistics of a class."""
    return f"statistics-{digest}"


@dataclass(frozen=True, kw_only=True)
class BundledVersion:
    """A version as the server that signed the bundle describes it."""

    model: str  # its name there
    number: int
    digest: Digest
    recipe: Recipe | None
    prompt: PromptTemplate
    classes: tuple[str, ...]
    environment: Mapping[str, str]
    environments: tuple[Mapping[str, str], ...]
    notes: Json
    feature_statistics: Mapping[str, Digest]
    line: tuple[tuple[Digest, tuple[str, ...]], ...]  # digest and classes taught; root first
    reports: Mapping[int, Digest]  # by version there
    learned_from: tuple[Digest, ...]  # see `Origin`

    @property
    def ancestors(self) -> tuple[Digest, ...]:
        """The digests of the versions that it was trained from, the nearest first."""
        return tuple(digest for digest, _ in reversed(self.line[:-1]))

    def taught_after(self, ancestor: Digest) -> tuple[str, ...]:
        """Return the classes taught by the updates after an ancestor, each once, in order."""
        last = max(at for at, (digest, _) in enumerate(self.line) if digest == ancestor)
        return tuple(dict.fromkeys(name for _, taught in self.line[last + 1 :] for name in taught))

    @classmethod
    def of(cls, predicate: Json) -> "BundledVersion":
        """Return what a statement's predicate says. Raises BundleInvalid."""
        try:
            *_, last = line = predicate["line"]
            recipe = last["recipe"]
            return cls(
                model=str(predicate["model"]),
                number=int(last["version"]),
                digest=_digest(last["digest"]),
                recipe=Recipe.from_json(recipe) if recipe is not None else None,
                prompt=PromptTemplate(last["prompt"]),
                classes=_classes(last["classes"]),
                environment=dict(last["environment"]),
                environments=tuple(dict(one) for one in last["environments"]),
                notes=dict(last["notes"]),
                feature_statistics={
                    clean_class(name): _digest(digest)
                    for name, digest in predicate["feature_statistics"].items()
                },
                line=tuple(
                    (_digest(one["digest"]), _classes(one["update_classes"])) for one in line
                ),
                reports={
                    int(one["version"]): _digest(one["report"])
                    for one in line
                    if one["report"] is not None
                },
                learned_from=tuple(dict.fromkeys(_learned_from(line))),
            )
        except (ValueError, TypeError, KeyError, AttributeError, PerennialError) as error:
            raise BundleInvalid(
                "The signed statement does not describe a version that this release can read."
            ) from error


def predicate_of(
    model: Model,
    line: Sequence[Version],
    *,
    images: Mapping[int, Json],
    suites: Sequence[Suite],
    policy: GatePolicy,
) -> dict[str, Any]:
    """Return what a bundle says of the last version of a line, root first.

    `images` describes by version the images that each learned from.
    """
    return {
        "model": model.name,
        "line": [_described(version, images[version.number]) for version in line],
        "feature_statistics": dict(line[-1].feature_statistics),
        "suites": [
            {
                "name": suite.name,
                "kind": suite.kind.value,
                "manifest": suite.manifest,
                "classes": list(suite.classes),
                "prompt": suite.prompt.text,
                "images": suite.images,
            }
            for suite in suites
        ],
        "policy": asdict(policy) | {"created_at": policy.created_at.isoformat()},
    }


def _described(version: Version, images: Json) -> dict[str, Any]:
    return {
        "version": version.number,
        "digest": version.digest,
        "parent": version.parent,
        "recipe": version.recipe.to_json() if version.recipe else None,
        **images,
        "update_classes": list(version.update_classes),
        "classes": list(version.classes),
        "prompt": version.prompt.text,
        "verdict": version.verdict.value if version.verdict else None,
        "report": version.report,
        "environment": dict(version.environment),
        "environments": [dict(each) for each in version.environments],
        "notes": dict(version.notes),
        "imported_from": asdict(version.origin) if version.origin else None,
        "created_at": version.created_at.isoformat(),
    }


def _learned_from(line: Sequence[Json]) -> Iterator[Digest]:
    """Yield the weights before the last of a line, and the images that all of it learned from.

    These are manifests, and of images by which a mixing weight was chosen `validation_of` them. Of
    a version that had come there by a bundle, also what that said.
    """
    for one in line:
        if one is not line[-1]:
            yield _digest(one["digest"])
        for part in ("dataset", "captions", "reference"):
            if one[part] is not None:
                yield _digest(one[part]["manifest"])
        yield from (validation_of(_digest(manifest)) for manifest in one["validation"])
        if one["imported_from"] is not None:
            yield from map(_digest, one["imported_from"]["learned_from"])


def _digest(value: object) -> Digest:
    if not (isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")):
        raise ValueError("not a SHA-256 in hex")
    return Digest(value)


def _classes(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(clean_class(name) for name in names)


# Signed bytes in an envelope: DSSE 1.0 (github.com/secure-systems-lab/dsse, envelope and PAE).

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


# The header of a safetensors file (huggingface.co/docs/safetensors, "Format").

LENGTH_BYTES = 8  # of the header's length, little-endian
MOST_HEADER_BYTES = 16 * 1024**2
_WIDTHS = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}  # bytes of an element


@dataclass(frozen=True, kw_only=True)
class TensorSlot:
    """A tensor's place: its bytes follow those of the slot before."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int  # bytes


def header_length(data: bytes) -> int:
    """Return the length of a header in bytes. Raises BundleInvalid."""
    length = int.from_bytes(data, "little")
    if len(data) < LENGTH_BYTES or length > MOST_HEADER_BYTES:
        raise BundleInvalid("The weights have no header, or one that is too long.")
    return length


def read_header(data: bytes) -> tuple[TensorSlot, ...]:
    """Return the slots of a file, in its order, which fill it without a gap. Raises BundleInvalid.

    Only dtypes that versions have are read: a version never holds half-precision tensors.
    """
    try:
        rows = json.loads(data)
        rows.pop("__metadata__", None)
        slots = [(tuple(row["data_offsets"]), _slot(name, row)) for name, row in rows.items()]
        placed = sorted(slots, key=lambda one: one[0])
        offset = 0
        for (begin, end), slot in placed:
            if begin != offset or end - begin != slot.size:
                raise BundleInvalid("The header of the weights leaves gaps or overlaps.")
            offset = end
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleInvalid("The header of the weights cannot be read.") from error
    return tuple(slot for _, slot in placed)


def _slot(name: str, row: Json) -> TensorSlot:
    shape = tuple(row["shape"])
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError("not a shape")
    dtype = str(row["dtype"])
    return TensorSlot(name=name, dtype=dtype, shape=shape, size=_WIDTHS[dtype] * prod(shape))


# The keys that sign and check.


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
