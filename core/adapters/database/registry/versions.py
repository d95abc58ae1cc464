"""Versions of models."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from core.adapters.database.parsed_json import parse_recipe
from core.adapters.database.statements import chunks
from core.adapters.database.tables.exports import exports
from core.adapters.database.tables.models import models, versions
from core.adapters.database.tables.vectors import index_reports, vectors
from core.domain.datasets.dataset import DatasetRef
from core.domain.gate.policy import Verdict
from core.domain.recipes.prompt import PromptTemplate
from core.domain.registry.origin import Origin
from core.domain.registry.version import Version, VersionStatus
from core.domain.values import Digest, ErasureId, ModelId
from core.errors import ModelNotFound, VersionNotFound

# Built once: building a statement takes longer than running it.
_RECIPE = cast(versions.c.recipe, Text).label("recipe")
_COLUMNS = [column for column in versions.c if column is not versions.c.deleted_at]
_ALL = select(*(_RECIPE if column is versions.c.recipe else column for column in _COLUMNS)).where(
    versions.c.deleted_at.is_(None)
)
_OF_MODEL = _ALL.where(versions.c.model == bindparam("model_id"))
_ONE = _OF_MODEL.where(versions.c.number == bindparam("number"))
_PAGE = (
    _OF_MODEL.where(versions.c.number > bindparam("after"))
    .order_by(versions.c.number)
    .limit(bindparam("limit"))
)
_NUMBERS = _PAGE.with_only_columns(versions.c.number)
_NEWEST = _OF_MODEL.order_by(versions.c.number.desc()).limit(1)


class SqlVersions:
    """The `Versions` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

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
        """Store a new version."""
        values = {
            **vars(version),
            "recipe": version.recipe.to_json() if version.recipe else None,
            "update_classes": list(version.update_classes),
            "classes": list(version.classes),
            "prompt": version.prompt.text,
            "environment": dict(version.environment),
            "environments": [dict(each) for each in version.environments],
            "reference": version.reference and dict(vars(version.reference)),
            "notes": dict(version.notes),
            "origin": version.origin and dict(vars(version.origin)),
            "feature_statistics": dict(version.feature_statistics),
        }
        self._connection.execute(insert(versions).values(values))

    def save(self, version: Version) -> None:
        """Store status, verdict and report of an existing version."""
        saved = self._connection.execute(
            update(versions)
            .where(versions.c.model == version.model, versions.c.number == version.number)
            .values(status=version.status, verdict=version.verdict, report=version.report)
        )
        if saved.rowcount == 0:
            raise VersionNotFound(version=version.number)

    def remove(self, model: ModelId, number: int, at: datetime) -> None:
        """Delete a version, whose weights may be collected from now on.

        Its row stays, without what it learned from. Its exports, vectors and reports
        on indexes are deleted too.
        """
        self._delete_made(model, number)
        self._connection.execute(
            update(versions)
            .where(versions.c.model == model, versions.c.number == number)
            .values(
                deleted_at=at,
                collected_at=func.coalesce(versions.c.collected_at, at),
                dataset=None,
                dataset_version=None,
                reference=None,
            )
        )

    def release_weights(self, model: ModelId, number: int, at: datetime) -> None:
        """Record that a version's weights may be collected from now on; delete what it has made."""
        self._delete_made(model, number)
        self._connection.execute(
            update(versions)
            .where(versions.c.model == model, versions.c.number == number)
            .values(collected_at=at)
        )

    def _delete_made(self, model: ModelId, number: int) -> None:
        for table in (exports, vectors, index_reports):
            theirs = (table.c.model == model) & (table.c.version == number)
            self._connection.execute(delete(table).where(theirs))

    def mark(self, model: ModelId, number: int, erasure: ErasureId) -> None:
        """Record that images that a version learned from were erased, unless it is marked."""
        self._connection.execute(
            update(versions)
            .where(versions.c.model == model, versions.c.number == number)
            .values(erasure=func.coalesce(versions.c.erasure, erasure))
        )

    def replacement(self, model: ModelId, number: int) -> Version | None:
        """Return the newest version that replaces another one."""
        query = (
            _ALL.where(versions.c.model == model, versions.c.replaces == number)
            .order_by(versions.c.number.desc())
            .limit(1)
        )
        row = self._connection.execute(query).first()
        return _to_version(row) if row is not None else None

    def get(self, model: ModelId, number: int, *, lock: bool = False) -> Version:
        """Return a version; `lock` keeps others from changing it. Raises VersionNotFound."""
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

    def by_digest(self, model: ModelId, digest: Digest) -> Version:
        """Return the newest version with this digest. Raises VersionNotFound."""
        query = (
            _ALL.where(versions.c.model == model, versions.c.digest == digest)
            .order_by(versions.c.number.desc())
            .limit(1)
        )
        row = self._connection.execute(query).first()
        if row is None:
            raise VersionNotFound(digest=digest)
        return _to_version(row)

    def page(self, model: ModelId, limit: int, after: int | None) -> Sequence[Version]:
        """Return a page of versions, oldest first; `after` is the last number before it."""
        given = {"model_id": model, "limit": limit, "after": after or 0}
        return [_to_version(row) for row in self._connection.execute(_PAGE, given)]

    def newest(self, model: ModelId) -> Version | None:
        """Return the version of a model with the highest number, or None without any."""
        row = self._connection.execute(_NEWEST, {"model_id": model}).first()
        return None if row is None else _to_version(row)

    def all(self, model: ModelId) -> Sequence[Version]:
        """Return all versions of a model, oldest first."""
        query = _ALL.where(versions.c.model == model).order_by(versions.c.number)
        return [_to_version(row) for row in self._connection.execute(query)]

    def numbers(self, model: ModelId, limit: int, after: int) -> Sequence[int]:
        """Return the numbers of a page of versions, oldest first; `after` is the last before it."""
        given = {"model_id": model, "limit": limit, "after": after}
        return list(self._connection.scalars(_NUMBERS, given))

    def fit(self, model: ModelId, numbers: Collection[int]) -> Mapping[int, bool]:
        """Return whether each of some versions may be rolled back to without an override.

        Those that are deleted are left out.
        """
        found: dict[int, bool] = {}
        for chunk in chunks(numbers):
            query = select(versions.c.number, versions.c.verdict, versions.c.erasure).where(
                versions.c.model == model,
                versions.c.number.in_(chunk),
                versions.c.deleted_at.is_(None),
            )
            for number, verdict, erasure in self._connection.execute(query):
                found[number] = verdict != Verdict.FAILED and erasure is None
        return found


def _to_version(row: Row[Any]) -> Version:
    values = dict(row._mapping)
    return Version(
        **values
        | {
            "status": VersionStatus(row.status),
            "recipe": parse_recipe(row.recipe),
            "update_classes": tuple(row.update_classes),
            "classes": tuple(row.classes),
            "prompt": PromptTemplate(row.prompt),
            "verdict": Verdict(row.verdict) if row.verdict is not None else None,
            "environments": tuple(row.environments or ()),
            "reference": DatasetRef(**row.reference) if row.reference is not None else None,
            "notes": row.notes or {},
            "origin": Origin(**row.origin) if row.origin is not None else None,
            "feature_statistics": row.feature_statistics or {},
        }
    )
