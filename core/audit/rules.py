"""Who acts, with which role, and the record of what changed."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from core.errors import Forbidden
from core.values import Digest, Json, KeyId, ModelId, canonical_json, sha256

# Audit events: who changed what, each chained to the one before by its hash.


class Action(StrEnum):
    """The kind of a change."""

    MODEL_CREATED = "model.created"
    MODEL_CONFIGURED = "model.configured"
    MODEL_DELETED = "model.deleted"
    VERSION_IMPORTED = "version.imported"
    VERSION_DELETED = "version.deleted"
    ALIAS_CREATED = "alias.created"
    ALIAS_MOVED = "alias.moved"
    ALIAS_ROLLED_BACK = "alias.rolled_back"
    ALIAS_DELETED = "alias.deleted"
    TRIAL_STARTED = "trial.started"
    TRIAL_ENDED = "trial.ended"
    SAMPLES_DELETED = "samples.deleted"
    JOB_ORDERED = "job.ordered"
    JOB_RETRIED = "job.retried"
    JOB_CANCELLED = "job.cancelled"
    DATASET_CREATED = "dataset.created"
    DATASET_EXTENDED = "dataset.extended"
    DATASET_DESCRIBED = "dataset.described"
    DATASET_FROZEN = "dataset.frozen"
    DATASET_DELETED = "dataset.deleted"
    DATASET_VERSION_DELETED = "dataset_version.deleted"
    CLASS_RENAMED = "class.renamed"
    IMAGES_MOVED = "images.moved"
    IMAGE_DELETED = "image.deleted"
    ERASURE_ORDERED = "erasure.ordered"
    IMAGES_ERASED = "images.erased"
    VERSION_MARKED = "version.marked"
    EXPORT_MADE = "export.made"
    EXPORT_DELETED = "export.deleted"
    INDEX_COMPARED = "index.compared"
    VECTORS_STORED = "vectors.stored"
    VECTORS_DELETED = "vectors.deleted"
    SUITE_CREATED = "suite.created"
    POLICY_CREATED = "policy.created"
    WEIGHTS_DELETED = "weights.deleted"
    COLLECTION_STARTED = "collection.started"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_REDELIVERED = "webhook.redelivered"
    WEBHOOK_DELETED = "webhook.deleted"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change, as its transaction states it; what it changed from and to is plain JSON."""

    actor: str
    key: KeyId | None
    action: str  # an Action, or one of a later release
    subject: str  # a path without /v1, such as models/demo/aliases/production
    before: Json | None = None
    after: Json | None = None
    reason: str = ""
    request_id: str | None = None
    at: datetime


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """A change with its number, and the hash over it and the hash of the event before."""

    sequence: int
    change: Change
    hash: Digest


GENESIS = Digest("0" * 64)  # before the first event


@dataclass(frozen=True, kw_only=True)
class AuditHead:
    """The number and the hash of the last event."""

    sequence: int = 0
    hash: Digest = GENESIS

    def append(self, change: Change) -> AuditEvent:
        """Return the event of a change, chained to this head."""
        sequence = self.sequence + 1
        return AuditEvent(
            sequence=sequence, change=change, hash=_chained(sequence, change, self.hash)
        )

    @classmethod
    def of(cls, event: AuditEvent) -> "AuditHead":
        """Return the head after an event."""
        return cls(sequence=event.sequence, hash=event.hash)


def first_break(events: Iterable[AuditEvent], start: AuditHead) -> int | None:
    """Return the number of the first event that is missing or was edited, None if there is none.

    `events` are those that follow `start`, in order.
    """
    for event in events:
        if start.append(event.change) != event:
            return start.sequence + 1
        start = AuditHead.of(event)
    return None


def _chained(sequence: int, change: Change, before: Digest) -> Digest:
    fields = asdict(change) | {"at": change.at.astimezone(UTC).isoformat()}
    return sha256(canonical_json({"sequence": sequence, "previous": before, **fields}))


# Roles, each of which may do what the one before it may, and more.


class Role(StrEnum):
    """The role of a key, from the one that allows the least to the one that allows the most."""

    VIEWER = "viewer"  # read, and classify
    CONTRIBUTOR = "contributor"  # send images, order updates
    OPERATOR = "operator"  # create models, move aliases
    ADMIN = "admin"  # policies, keys, deletions

    @classmethod
    def known(cls, stored: str) -> Self | None:
        """Return the role of this name, None for one that a later release has written."""
        return cls(stored) if stored in set(cls) else None

    def includes(self, needed: "Role") -> bool:
        """Return whether this role may do what the needed one may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


# Principals: who calls, and what they may do.


@dataclass(frozen=True, kw_only=True)
class Principal:
    """The holder of a key or a token, or a process or person with access to the database itself."""

    name: str
    role: Role | None  # None allows nothing: a token's claims give none, or a later release's role
    models: frozenset[ModelId] | None = None  # the models it may touch; None: all
    key: KeyId | None = None
    request_id: str | None = None
    trace: str | None = None  # the request's span, as a traceparent

    @property
    def id(self) -> str:
        """The id of its key, or its name if it has none: what is counted is counted by it."""
        return self.key or self.name

    def may(self, role: Role) -> bool:
        """Return whether the principal's role includes this one."""
        return self.role is not None and self.role.includes(role)

    def require(self, role: Role) -> None:
        """Raise Forbidden unless the principal's role includes this one."""
        if not self.may(role):
            held = f"you have the role {self.role}" if self.role else "you have none"
            raise Forbidden(
                f"This takes at least the role {role}; {held}.",
                required_role=role.value,
                role=self.role and self.role.value,
            )

    def require_admin(self) -> None:
        """Raise Forbidden unless the principal is an administrator."""
        self.require(Role.ADMIN)

    def require_every_model(self) -> None:
        """Raise Forbidden if the principal may touch some models only."""
        if self.models is not None:
            raise Forbidden("This concerns every model, and you may touch some of them only.")


# For whatever has no key: the service's own processes, and the command line.
SERVICE = Principal(name="service", role=Role.ADMIN)

COMMAND_LINE = Principal(name="command line", role=Role.ADMIN)


# What use cases need from outside; the SQL protocols in it are the next to go (step 5).


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """The conditions on the audit events to list; None: no condition."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None  # it, and what is below it
    since: datetime | None = None
    until: datetime | None = None  # exclusive
