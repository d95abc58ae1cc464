"""Rows of versions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    bindparam,
    cast,
    func,
    insert,
    null,
    select,
    tuple_,
    update,
)

from core.database.statements import KEPT, LONGEST, chunks, rows_with
from core.database.tables import marks, models, versions
from core.database.work import Rows
from core.datasets.rules import DatasetRef
from core.errors import ModelNotFound, VersionNotFound
from core.gate.rules import Verdict
from core.hooks import Hook
from core.recipes.fields import PromptTemplate
from core.recipes.rules import Recipe
from core.registry.versions import Descent, Origin, ServingPrecision, Version, VersionStatus
from core.values import Digest, ErasureId, ModelId

# What takes part, in the same transaction, before a version loses its weights; its row
# stays.
DELETE_WITH_WEIGHTS = Hook[[Connection, ModelId, int], None]("the deletion of a version's weights")

# Built once: building a statement takes longer than running it.
_RECIPE = cast(versions.c.recipe, Text).label("recipe")
_COLUMNS = [column for column in versions.c if column is not versions.c.deleted_at]
_ALL = select(*(_RECIPE if column is versions.c.recipe else column for column in _COLUMNS)).where(
    versions.c.deleted_at.is_(None)
)
_OF_MODEL = _ALL.where(versions.c.model == bindparam("model_id"))
_ONE = _OF_MODEL.where(versions.c.number == bindparam("number"))
_LISTED = _OF_MODEL.with_only_columns(
    *(null().label("recipe") if column is versions.c.recipe else column for column in _COLUMNS)
)
_PAGE = (
    _LISTED.where(versions.c.number > bindparam("after"))
    .order_by(versions.c.number)
    .limit(bindparam("limit"))
)
_NUMBERS = _PAGE.with_only_columns(versions.c.number)
_NEWEST = _OF_MODEL.order_by(versions.c.number.desc()).limit(1)


class Versions(Rows):
    """Rows of versions."""

    def next_number(self, model: ModelId) -> int:
        """Return the next version number, from a counter row locked until commit."""
        number = self._connection.scalar(
            update(models)
            .where(models.c.id == model)
            .values(last_version=models.c.last_version + 1)
            .returning(models.c.last_version)
        )
        if number is None:
            raise ModelNotFound(model=model)
        return int(number)

    def add(self, version: Version) -> None:
        """Store a new version; it is marked if its weights are."""
        values = {
            **vars(version),
            "recipe": version.recipe.to_json() if version.recipe else None,
            "prompt": version.prompt.text,
            "captions": version.captions and vars(version.captions),
            "reference": version.reference and vars(version.reference),
            "origin": version.origin and vars(version.origin),
            "erasure": select(marks.c.erasure)
            .where(marks.c.digest == version.digest)
            .scalar_subquery(),
        }
        self._connection.execute(insert(versions).values(values))

    def save(self, version: Version) -> None:
        """Store status, verdict and report of an existing version."""
        self._write(
            version.model,
            version.number,
            status=version.status,
            verdict=version.verdict,
            report=version.report,
        )

    def remove(self, model: ModelId, number: int, at: datetime) -> None:
        """Delete a version, whose weights may be collected from now on.

        Its row stays, without what it learned from: histories of aliases name it, and its verdicts
        stay spent. What it has made is deleted too.
        """
        DELETE_WITH_WEIGHTS(self._connection, model, number)
        self._write(
            model,
            number,
            deleted_at=at,
            collected_at=func.coalesce(versions.c.collected_at, at),
            dataset=None,
            dataset_version=None,
            captions=None,
            reference=None,
        )

    def release_weights(self, model: ModelId, number: int, at: datetime) -> None:
        """Record that a version's weights may be collected from now on; delete what it has made."""
        DELETE_WITH_WEIGHTS(self._connection, model, number)
        self._write(model, number, collected_at=at)

    def mark(self, model: ModelId, number: int, erasure: ErasureId) -> None:
        """Record that images that a version learned from were erased, unless it is marked.

        It loses its feature statistics, as it is not trained further.
        """
        first = func.coalesce(versions.c.erasure, erasure)
        self._write(model, number, erasure=first, feature_statistics={})

    def _write(self, model: ModelId, number: int, **values: Any) -> None:
        """Write to a version. Raises VersionNotFound."""
        theirs = (versions.c.model == model, versions.c.number == number)
        written = self._connection.execute(update(versions).where(*theirs).values(values))
        if written.rowcount == 0:
            raise VersionNotFound(version=number)

    def replacement(self, model: ModelId, number: int) -> Version | None:
        """Return the newest version that replaces another one."""
        return self._newest(model, versions.c.replaces == number)

    def get(self, model: ModelId, number: int, *, lock: bool = False) -> Version:
        """Return a version; `lock` keeps others from changing it before commit.

        Raises VersionNotFound, which says when a version was deleted.
        """
        # SQLite's write transactions run one at a time anyway.
        query = _ONE.with_for_update(key_share=True) if lock else _ONE
        row = self._connection.execute(query, {"model_id": model, "number": number}).first()
        if row is None:
            raise self._not_found(model, number)
        return _to_version(row)

    def _not_found(self, model: ModelId, number: int) -> VersionNotFound:
        deleted_at = self._connection.scalar(
            select(versions.c.deleted_at).where(
                versions.c.model == model, versions.c.number == number
            )
        )
        if deleted_at is None:
            return VersionNotFound(version=number)
        at = deleted_at.isoformat()
        return VersionNotFound(f"Version {number} was deleted.", version=number, deleted_at=at)

    def with_digest(self, model: ModelId, digest: Digest) -> Collection[int]:
        """Return the numbers of a model's versions with these weights, also of deleted ones."""
        query = select(versions.c.number).where(
            versions.c.model == model, versions.c.digest == digest
        )
        return set(self._connection.scalars(query))

    def by_digest(self, model: ModelId, digest: Digest) -> Version:
        """Return the newest version with this digest. Raises VersionNotFound."""
        found = self._newest(model, versions.c.digest == digest)
        if found is None:
            raise VersionNotFound(digest=digest)
        return found

    def page(self, model: ModelId, limit: int, after: int | None) -> Sequence[Version]:
        """Return a page of versions, oldest first; `after` is the last number before it.

        Their recipes, of which a page could hold 100 MB, are not read: they are None.
        """
        given = {"model_id": model, "limit": limit, "after": after or 0}
        return [_to_version(row) for row in self._connection.execute(_PAGE, given)]

    def newest(self, model: ModelId) -> Version | None:
        """Return the version of a model with the highest number, or None without any."""
        return self._newest(model)

    def _newest(self, model: ModelId, *conditions: ColumnElement[bool]) -> Version | None:
        query = _NEWEST.where(*conditions)
        row = self._connection.execute(query, {"model_id": model}).first()
        return None if row is None else _to_version(row)

    def all(self, model: ModelId) -> Sequence[Version]:
        """Return all versions of a model, oldest first."""
        query = _ALL.where(versions.c.model == model).order_by(versions.c.number)
        return [_to_version(row) for row in self._connection.execute(query)]

    def descents(self, model: ModelId) -> Mapping[int, Descent]:
        """Return what all versions of a model descend from by number, also deleted ones."""
        columns = (versions.c.number, versions.c.parent, versions.c.replaces)
        query = select(*columns).where(versions.c.model == model).order_by(versions.c.number)
        return {
            row.number: Descent(parent=row.parent, replaces=row.replaces)
            for row in self._connection.execute(query)
        }

    def made(self, model: ModelId) -> Mapping[int, tuple[Digest, datetime]]:
        """Return digest and time of all versions of a model by number, also of deleted ones."""
        columns = (versions.c.number, versions.c.digest, versions.c.created_at)
        query = select(*columns).where(versions.c.model == model).order_by(versions.c.number)
        rows = self._connection.execute(query)
        return {row.number: (row.digest, row.created_at) for row in rows}

    def teachers(self, model: ModelId) -> Mapping[DatasetRef, int]:
        """Return the newest version of a model that learned from each dataset version."""
        beside = versions.c.captions
        found: dict[DatasetRef, int] = {}
        for dataset, number in (
            (versions.c.dataset, versions.c.dataset_version),
            (beside["dataset"].as_string(), beside["version"].as_integer()),
        ):
            query = (
                select(dataset.label("taught"), number.label("data"), func.max(versions.c.number))
                .where(versions.c.model == model, dataset.is_not(None))
                .group_by("taught", "data")
            )
            for name, data, newest in self._connection.execute(query):
                ref = DatasetRef(dataset=name, version=data)
                found[ref] = max(newest, found.get(ref, 0))
        return found

    def numbers(self, model: ModelId, limit: int, after: int) -> Sequence[int]:
        """Return the numbers of a page of versions, oldest first; `after` is the last before it."""
        given = {"model_id": model, "limit": limit, "after": after}
        return list(self._connection.scalars(_NUMBERS, given))

    def erasures(
        self, named: Collection[tuple[ModelId, int]]
    ) -> Mapping[tuple[ModelId, int], ErasureId | None]:
        """Return the first erasure of an image that each of some versions learned from, if any.

        Those that are deleted are left out.
        """
        key = tuple_(versions.c.model, versions.c.number)
        found: dict[tuple[ModelId, int], ErasureId | None] = {}
        for chunk in chunks(named):
            query = select(versions.c.model, versions.c.number, versions.c.erasure).where(
                key.in_(chunk), versions.c.deleted_at.is_(None)
            )
            for model, number, erasure in self._connection.execute(query):
                found[model, number] = erasure
        return found

    def some(self, model: ModelId, numbers: Collection[int]) -> Mapping[int, Version]:
        """Return some versions of a model by number; those that are deleted are left out."""
        query = _ALL.where(versions.c.model == model)
        rows = rows_with(self._connection, query, versions.c.number, numbers)
        return {row.number: _to_version(row) for row in rows}


def _to_version(row: Row[Any]) -> Version:
    values = dict(row._mapping)
    return Version(
        **values
        | {
            "status": VersionStatus(row.status),
            "precision": ServingPrecision(row.precision),
            "recipe": _parse_recipe(row.recipe),
            "update_classes": tuple(row.update_classes),
            "classes": tuple(row.classes),
            "prompt": PromptTemplate(row.prompt),
            "verdict": Verdict(row.verdict) if row.verdict is not None else None,
            "environments": tuple(row.environments),
            "captions": DatasetRef(**row.captions) if row.captions is not None else None,
            "reference": DatasetRef(**row.reference) if row.reference is not None else None,
            "origin": Origin.of(row.origin) if row.origin is not None else None,
        }
    )


def _parse_recipe(text: str | None) -> Recipe | None:
    """Return the recipe stored with a version, or None for a root or a conversion."""
    if text is None:
        return None
    return _recipe(text) if len(text) <= LONGEST else _recipe.__wrapped__(text)


@lru_cache(KEPT)
def _recipe(text: str) -> Recipe:
    return Recipe.from_json(from_json(text))
