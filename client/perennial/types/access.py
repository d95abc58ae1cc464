"""API keys, audit events, problem documents and workers."""

from typing import Any, Literal, NotRequired, TypedDict

RoleName = Literal["viewer", "contributor", "operator", "admin"]


class Principal(TypedDict):
    """The caller of a request."""

    name: str
    role: RoleName
    models: list[str] | None  # None: all
    key: str | None  # None: a token


class Key(TypedDict):
    """An API key, without its secret."""

    id: str
    name: str
    role: RoleName | None
    models: list[str] | None
    prefix: str | None
    live: bool
    created_at: str
    expires_at: str | None
    rotated_at: str | None
    revoked_at: str | None
    last_used_at: str | None  # known within a minute or so


class Secret(Key):
    """An API key with its new secret, which no other reply shows."""

    secret: str


AuditEvent = TypedDict(
    "AuditEvent",
    {
        "sequence": int,
        "at": str,
        "actor": str,
        "key": str | None,
        "action": str,
        "subject": str,
        "from": dict[str, Any] | None,
        "to": dict[str, Any] | None,
        "reason": str,
        "request_id": str | None,
        "hash": str,
    },
)

AuditEvent.__doc__ = "A change that somebody made."


class Chain(TypedDict):
    """The result of a check of the chain of audit events."""

    holds: bool
    events: int
    hash: str
    broken_at: int | None


# Problem documents: the errors of a request.


class ProblemLine(TypedDict):
    """One thing that is wrong and, as a JSON pointer, where."""

    code: str
    detail: str
    pointer: NotRequired[str | None]


# Workers.


class Worker(TypedDict):
    """A worker: a supervisor and its child, which holds one device."""

    id: str
    fresh: bool  # whether it counts as alive
    beat_age_s: float
    state: str
    job: str | None
    host: str
    pid: int | None
    child_pid: int | None
    device: str
    queues: list[str]
    formats: list[str]  # that it can export versions in
    version: str
    memory_bytes: int | None
    starts: int
