"""Schemas of aliases and their moves."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from api.schemas.common import Number, RequestModel, ResponseModel
from core.domain.registry.alias import Alias, AliasMove, MoveKind
from core.domain.registry.version import Version

Reason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]


class Promotion(RequestModel):
    """A promotion: the version that the alias is to point at."""

    version: Number = Field(examples=[2])
    reason: Reason = ""
    override: bool = Field(
        False,
        description="Promote a version that failed, or whose verdict is stale because suites, "
        "policy or live version have changed; needs a reason, admins only.",
    )


class Rollback(RequestModel):
    """A rollback to the version that was live before, or to a named earlier one."""

    reason: Reason = Field(examples=["boots are called sandals"])
    to: Number | None = Field(
        None,
        examples=[1],
        description="Default: the version live before, skipping versions that failed or went live "
        "by override alone.",
    )
    override: bool = Field(
        False, description="Roll back to a version that failed; it must be named, admins only."
    )


class AliasView(ResponseModel):
    """An alias and the version that it points at."""

    model: str = Field(examples=["demo"])
    alias: str = Field(examples=["production"])
    version: int = Field(examples=[2])
    digest: str
    revision: int = Field(examples=[2], description="The ETag; increases with every move.")
    updated_at: datetime

    @classmethod
    def of(cls, alias: Alias, *, model: str, version: Version) -> Self:
        """Return the view of an alias; `model` is the model's name."""
        return cls(
            model=model,
            alias=alias.name,
            version=alias.version,
            digest=version.digest,
            revision=alias.revision,
            updated_at=alias.updated_at,
        )


class MoveView(ResponseModel):
    """A move of an alias."""

    revision: int = Field(examples=[2])
    kind: MoveKind
    from_version: int | None = Field(examples=[1])
    to_version: int = Field(examples=[2], description="0 for the move that deleted the alias.")
    reason: str
    actor: str = Field(examples=["admin"])
    at: datetime
    override: bool = Field(
        description="Whether the gate would have refused this move without the override."
    )

    @classmethod
    def of(cls, move: AliasMove) -> Self:
        """Return the view of a move."""
        return cls(
            revision=move.revision,
            kind=move.kind,
            from_version=move.from_version,
            to_version=move.to_version or 0,  # released as an integer
            reason=move.reason,
            actor=move.actor,
            at=move.at,
            override=move.override,
        )
