"""Schemas of API keys and audit events."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AliasPath, Field

from api.http.schemas import BY_TEXT, Name, Reference, RequestModel, ResponseModel, Time
from core.access.keys import OVERLAP
from core.principal import Role

HOUR = timedelta(hours=1)


class NewKey(RequestModel):
    """An API key to create."""

    name: Name = Field(examples=["nightly-updates"])
    role: Annotated[Role, BY_TEXT] = Field(examples=["contributor"])
    models: list[Reference] | None = Field(
        None,
        min_length=1,
        max_length=200,
        examples=[["demo"]],
        description="The models that it may touch; null: all, also later ones. To it, other models "
        "and their jobs do not exist. Not for an admin.",
    )
    expires_at: Time | None = Field(None, examples=["2099-01-01T00:00:00Z"])


class Rotation(RequestModel):
    """The choices for a rotation of an API key."""

    overlap_hours: float = Field(
        OVERLAP / HOUR,
        ge=0,
        le=24 * 30,
        description="How long the present secret is valid beside the new one. 0: it ends at once.",
    )

    @property
    def overlap(self) -> timedelta:
        """The time for which the present secret stays valid."""
        return timedelta(hours=self.overlap_hours)


class KeyView(ResponseModel):
    """An API key, without its secret."""

    id: str = Field(examples=["key_0199c2a4e1b7d3f4a5b6c7d8e9f0"])
    name: str = Field(examples=["nightly-updates"])
    role: Role | None = Field(description="Null: a role of a later release, which allows nothing.")
    models: list[str] | None = Field(
        examples=[["demo"]], description="Null: all. A model that was deleted is listed by its id."
    )
    prefix: str | None = Field(
        examples=["pk_Zk3v9Q"],
        description="How its newest secret begins. Null: the service did not make the secret.",
    )
    live: bool = Field(description="Whether it is neither revoked nor expired.")
    created_at: datetime
    expires_at: datetime | None
    rotated_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(
        description="Known within a minute or so. Null: it was not used since this is noted."
    )


class SecretView(KeyView):
    """An API key with its new secret."""

    secret: str = Field(
        examples=["pk_Zk3v9Q..."], description="Shown only now: the service keeps its hash alone."
    )


class PrincipalView(ResponseModel):
    """The caller of a request: the holder of a key or a token."""

    name: str = Field(examples=["nightly-updates"])
    role: Role
    models: list[str] | None = Field(examples=[["demo"]], description="Null: all.")
    key: str | None = Field(
        examples=["key_0199c2a4e1b7d3f4a5b6c7d8e9f0"], description="Null: a token."
    )


class AuditEventView(ResponseModel):
    """A change that somebody made."""

    sequence: int = Field(examples=[42])
    at: datetime
    actor: str = Field(
        examples=["nightly-updates"],
        description="The name of the key, `job ...`, `command line` or `service`.",
    )
    key: str | None = Field(description="The id of the key, if it was one.")
    action: str = Field(examples=["alias.moved"])
    subject: str = Field(examples=["models/demo/aliases/production"])
    before: dict[str, Any] | None = Field(alias="from", examples=[{"version": 1}])
    after: dict[str, Any] | None = Field(alias="to", examples=[{"version": 2, "override": False}])
    reason: str
    request_id: str | None
    hash: str = Field(description="SHA-256 over this event and the hash of the one before it.")


class ChainView(ResponseModel):
    """The result of a check of the chain of audit events."""

    holds: bool
    events: int = Field(
        validation_alias=AliasPath("head", "sequence"), description="The number of the last event."
    )
    hash: str = Field(
        validation_alias=AliasPath("head", "hash"),
        description="Its hash. Note it elsewhere: it also shows when the whole chain is replaced.",
    )
    broken_at: int | None = Field(description="The first event that was removed, edited or forged.")
