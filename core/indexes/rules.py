"""Indexes of vectors outside the service: their versions, and which of them an alias may go to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from core.errors import FieldInvalid, IndexNotReady
from core.values import Digest, IndexId, Json, ModelId


class IndexStore(StrEnum):
    """The kinds of stores that the client can fill; the service connects to none of them."""

    PGVECTOR = "pgvector"
    QDRANT = "qdrant"


class IndexMethod(StrEnum):
    """The way in which the vectors for a version came about."""

    EMBEDDED = "embedded"  # by the version itself
    BRIDGED = "bridged"  # those of the baseline, mapped
    HELD = "held"  # those of the baseline, as they are


class IndexState(StrEnum):
    """The states of an index's version. Live and retired follow from the alias."""

    WANTED = "wanted"
    FILLING = "filling"
    COMPLETE = "complete"
    LIVE = "live"
    RETIRED = "retired"


@dataclass(frozen=True, kw_only=True)
class VectorIndex:
    """An index that follows an alias."""

    id: IndexId
    model: ModelId
    name: str
    alias: str
    store: IndexStore
    dataset: str | None  # whose images it has; None: files of the client
    allowed_loss: float  # of recall@10, for vectors that the version has not made itself
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class IndexVersion:
    """The vectors that an index has for a version of its model."""

    index: IndexId
    version: int
    state: IndexState  # wanted, filling or complete
    # By an update that passed the gate and would go live by itself while the alias has this
    # revision: a later move of the alias ends it.
    wanted: int | None = None
    method: IndexMethod | None = None  # None while it is wanted
    baseline: int | None = None  # whose vectors are held or bridged
    loss: float | None = None  # of recall@10: the upper end of its interval in the worst search
    rows: int = 0
    total: int = 0
    updated_at: datetime

    @property
    def reads(self) -> set[int]:
        """Return the versions that must keep their weights for it."""
        return {self.version} | ({self.baseline} if self.baseline is not None else set())

    def begin(self, method: IndexMethod, baseline: int | None, loss: float | None) -> Self:
        """Return it as it is filled by a method. Raises FieldInvalid if another one has begun."""
        if self.state is IndexState.WANTED:
            return replace(
                self, state=IndexState.FILLING, method=method, baseline=baseline, loss=loss
            )
        if (self.method, self.baseline) != (method, baseline):
            raise FieldInvalid(
                f"The index's vectors for version {self.version} are {_made(self)}: delete them "
                "before others are made.",
                pointer="/method",
            )
        return self

    def counted(self, *, rows: int, total: int, complete: bool, now: datetime) -> Self:
        """Return it with so many rows; once complete, it stays so.

        Raises FieldInvalid if it is to be complete and rows are missing.
        """
        if complete and rows != total:
            raise FieldInvalid(
                f"A complete index has all of its {total} rows, not {rows}.", pointer="/rows"
            )
        done = complete or self.state is IndexState.COMPLETE
        state = IndexState.COMPLETE if done else IndexState.FILLING
        return replace(self, state=state, rows=rows, total=total, updated_at=now)


def _made(one: IndexVersion) -> str:
    of = "" if one.baseline is None else f" from version {one.baseline}"
    return f"{one.method}{of}"


def shown_state(one: IndexVersion, *, live: int | None, was_live: bool) -> IndexState:
    """Return the state of an index's version, given where its alias points and has pointed."""
    if one.state is not IndexState.COMPLETE:
        return one.state
    if one.version == live:
        return IndexState.LIVE
    return IndexState.RETIRED if was_live else IndexState.COMPLETE


def refusal(
    index: VectorIndex, versions: Collection[IndexVersion], version: int, model: str
) -> IndexNotReady | None:
    """Return why an index keeps its alias from moving to a version; None if it does not.

    An index without any complete version has nothing to keep true yet.
    """
    complete = {one.version for one in versions if one.state is IndexState.COMPLETE}
    if not complete or version in complete:
        return None
    return IndexNotReady(
        f"The index {index.name!r} follows {index.alias!r} and has no complete vectors for version "
        f"{version}: run `perennial index move {index.name} {model}:{version}`, which makes them "
        "and then moves the alias, or override with a reason.",
        index=index.name,
        version=version,
    )


def require_method(
    method: IndexMethod, version: int, baseline: int | None, present: Sequence[IndexVersion]
) -> None:
    """Raise FieldInvalid unless vectors for a version can be made so of what an index has."""
    if (method is IndexMethod.EMBEDDED) is (baseline is not None):
        raise FieldInvalid(
            "Vectors are embedded without a baseline, and held or bridged from one.",
            pointer="/baseline",
        )
    if baseline is None:
        return
    own = {
        one.version
        for one in present
        if one.state is IndexState.COMPLETE and one.method is IndexMethod.EMBEDDED
    }
    if baseline == version or baseline not in own:
        raise FieldInvalid(
            f"The index has no complete vectors that version {baseline} has made itself.",
            pointer="/baseline",
        )


def stated_loss(report: Json, method: IndexMethod) -> float | None:
    """Return the most that a report lets vectors from its baseline lose; None if it cannot tell.

    It is the upper end of the interval of the loss of recall@10, in the worst search that is
    judged.
    """
    field = "raw_loss" if method is IndexMethod.HELD else "bridged_loss"
    searches: list[dict[str, Any]] = [one for one in report["searches"] if one["judged"]]
    return max((float(one[field]["upper"]) for one in searches), default=None)


def require_loss(loss: float | None, index: VectorIndex, method: IndexMethod) -> None:
    """Raise IndexNotReady if vectors from a baseline may lose more than an index allows."""
    allowed = f"{100 * index.allowed_loss:.1f} points are allowed"
    if loss is None:
        raise IndexNotReady(
            f"No search of the compatibility report has enough queries to be judged, and {allowed}:"
            " embed the images again.",
            index=index.name,
        )
    if loss > index.allowed_loss:
        raise IndexNotReady(
            f"By the compatibility report, {method} vectors may lose {100 * loss:.1f} points of "
            f"recall@10, and {allowed}: embed the images again.",
            index=index.name,
            loss=loss,
        )


def digest_matches(given: Digest, version: Digest) -> None:
    """Raise FieldInvalid if a filler means other weights than the version's."""
    if given != version:
        raise FieldInvalid("The digest is that of another version.", pointer="/digest")
