"""Audit events: who changed what, each chained to the one before by its hash."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum

from core.errors import FieldInvalid
from core.values import Digest, Json, KeyId, canonical_json, clean_reason, sha256


class Action(StrEnum):
    """The kind of a change."""

    MODEL_CREATED = "model.created"
    MODEL_CONFIGURED = "model.configured"
    DEFAULT_RECIPE_CHANGED = "default_recipe.changed"
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
    VERSION_CLEARED = "version.cleared"
    EXPORT_MADE = "export.made"
    EXPORT_DELETED = "export.deleted"
    INDEX_COMPARED = "index.compared"
    INDEX_CREATED = "index.created"
    INDEX_FILLED = "index.filled"
    INDEX_CLEARED = "index.cleared"
    INDEX_DELETED = "index.deleted"
    VECTORS_STORED = "vectors.stored"
    VECTORS_DELETED = "vectors.deleted"
    SUITE_CREATED = "suite.created"
    SUITE_GROWN = "suite.grown"
    SUITE_LABELLED = "suite.labelled"
    HOLDOUT_GROWN = "holdout.grown"
    SUITE_RETIRED = "suite.retired"
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
    SESSION_REFUSED = "session.refused"


def given_reason(reason: str, step: str) -> str:
    """Return the reason of a step, which begins the refusal. Raises FieldInvalid without one."""
    if not (reason := clean_reason(reason)):
        raise FieldInvalid(
            f"{step} requires a reason: it is kept in the audit log.", pointer="/reason"
        )
    return reason


# What may change which version may go live, beside moves of aliases.
GATE_STEPS = (
    Action.MODEL_CONFIGURED,
    Action.VERSION_DELETED,
    Action.ALIAS_DELETED,
    Action.SUITE_GROWN,
    Action.HOLDOUT_GROWN,
)


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


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """The conditions on the audit events to list; None: no condition."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None  # it, and what is below it
    since: datetime | None = None
    until: datetime | None = None  # exclusive
