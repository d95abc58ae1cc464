"""Rows of models and of their versions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import lru_cache
from typing import Any, Self

from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    null,
    select,
    tuple_,
    union,
    update,
)

from core.database.statements import (
    KEPT,
    LONGEST,
    chunks,
    find_named,
    insert_new,
    page_by_id,
    rows_with,
)
from core.database.tables import (
    alias_moves,
    aliases,
    job_events,
    jobs,
    marks,
    model_suites,
    models,
    verdicts,
    versions,
)
from core.database.work import Rows, Work
from core.datasets.rules import DatasetRef
from core.errors import ModelNotFound, NameTaken, VersionNotFound
from core.gate.rules import Verdict
from core.hooks import Hook
from core.recipes.defaults import DefaultRecipe
from core.recipes.fields import PromptTemplate
from core.recipes.rules import Recipe
from core.registry.versions import Descent, Model, Origin, ServingPrecision, Version, VersionStatus
from core.values import DatasetId, Digest, ErasureId, Json, ModelId, PolicyId, SuiteId, from_plain

# What takes part, in the same transaction, before the rows themselves are written. The rows of the
# versions are locked by then. A deleted model's are deleted afterwards; a version without weights
# keeps its row.
DELETE_WITH_MODEL = Hook[[Connection, ModelId], None]("the deletion of a model")
DELETE_WITH_WEIGHTS = Hook[[Connection, ModelId, int], None]("the deletion of a version's weights")

# Built once: building a statement takes longer than running it.
_SUITES = (
    select(model_suites.c.model, model_suites.c.suite)
    .where(model_suites.c.model.in_(bindparam("models", expanding=True)))
    .order_by(model_suites.c.position)
)


class Models(Rows):
    """Rows of models; with `visible`, other models are not there."""

    @classmethod
    def open(cls, work: Work) -> Self:
        """Return the rows in a transaction."""
        return cls(work.connection, work.principal.models)

    def __init__(self, connection: Connection, visible: Collection[ModelId] | None = None) -> None:
        self._connection = connection
        self._visible = visible

    def add(self, model: Model) -> None:
        """Store a model. Raises NameTaken."""
        values = {
            "id": model.id,
            "name": model.name,
            "policy": model.policy,
            "last_version": 0,
            "created_at": model.created_at,
        }
        if not insert_new(self._connection, models, values):
            raise NameTaken(name=model.name)
        self._add_suites(model.id, model.suites)

    def get(self, reference: str) -> Model:
        """Return a model by id or name. Raises ModelNotFound."""
        row = find_named(self._connection, models, reference)
        if row is None or not (self._visible is None or row.id in self._visible):
            raise ModelNotFound(model=reference)
        return self._to_models([row])[0]

    def ids_of(self, names: Collection[str]) -> Collection[ModelId]:
        """Return the ids of the models that have one of these names; others are left out."""
        found = self._connection.scalars(select(models.c.id).where(models.c.name.in_(names)))
        return [one for one in found if self._visible is None or one in self._visible]

    def page(self, limit: int, after: str | None) -> Sequence[Model]:
        """Return a page of models, oldest first; `after` is the last id of the previous page."""
        return self._to_models(page_by_id(self._connection, models, limit, after, self._visible))

    def taught(self, datasets: Collection[DatasetId]) -> Mapping[DatasetId, Sequence[str]]:
        """Return the names of the models that learned from each of some datasets."""
        beside = versions.c.captions["dataset"].as_string()
        seen = [] if self._visible is None else [models.c.id.in_(self._visible)]
        queries = (
            select(dataset.label("taught"), models.c.name)
            .join(models, models.c.id == versions.c.model)
            .where(dataset.in_(datasets), *seen)
            for dataset in (versions.c.dataset, beside)
        )
        found: dict[DatasetId, list[str]] = {}
        for row in self._connection.execute(union(*queries).order_by("name")):
            found.setdefault(row.taught, []).append(row.name)
        return found

    def prompts(self) -> Collection[str]:
        """Return the prompts of the models' roots, each once."""
        query = select(versions.c.prompt).where(versions.c.parent.is_(None)).distinct()
        if self._visible is not None:
            query = query.where(versions.c.model.in_(self._visible))
        return self._connection.scalars(query).all()

    def judged(
        self, by: Collection[SuiteId | PolicyId]
    ) -> Mapping[SuiteId | PolicyId, Sequence[str]]:
        """Return the names of the models that each of some suites and policies judges."""
        suites = select(model_suites.c.suite, models.c.name, models.c.id).join(models)
        policies = select(models.c.policy, models.c.name, models.c.id)
        found: dict[SuiteId | PolicyId, list[str]] = {}
        for query, judge in ((suites, model_suites.c.suite), (policies, models.c.policy)):
            rows = self._connection.execute(query.where(judge.in_(by)).order_by(models.c.name))
            for one, name, model in rows:
                if self._visible is None or model in self._visible:
                    found.setdefault(one, []).append(name)
        return found

    def lock(self, model: ModelId) -> None:
        """Keep others from adding jobs and versions to the model. Raises ModelNotFound."""
        lock = select(models.c.id).where(models.c.id == model).with_for_update()
        if self._connection.scalar(lock) is None:
            raise ModelNotFound(model=model)

    def lock_all(self) -> Sequence[Model]:
        """Return all models, and keep others from adding versions to any.

        Jobs can be added, as their orders may have locked a version.
        """
        rows = select(models).order_by(models.c.id).with_for_update(key_share=True)
        return self._to_models(self._connection.execute(rows).all())

    def remove(self, model: ModelId) -> None:
        """Delete a locked model with its versions, aliases, their history, and its jobs."""
        # As moves do: versions, then aliases, then what takes part by hooks, such as trials.
        for table, key in ((versions, versions.c.number), (aliases, aliases.c.name)):
            rows = select(key).where(table.c.model == model).order_by(key)
            self._connection.execute(rows.with_for_update())
        theirs = select(jobs.c.id).where(jobs.c.model == model)
        self._connection.execute(delete(job_events).where(job_events.c.job.in_(theirs)))
        DELETE_WITH_MODEL(self._connection, model)
        for table in (alias_moves, aliases, verdicts, versions, model_suites, jobs):
            self._connection.execute(delete(table).where(table.c.model == model))
        self._connection.execute(delete(models).where(models.c.id == model))

    def set_suites(self, model: ModelId, suites: Sequence[SuiteId]) -> None:
        """Replace the suites that judge the model's next versions."""
        # Without the lock, two concurrent choices would mix row by row.
        lock = select(models.c.id).where(models.c.id == model).with_for_update(key_share=True)
        if self._connection.scalar(lock) is None:
            raise ModelNotFound(model=model)
        self._connection.execute(delete(model_suites).where(model_suites.c.model == model))
        self._add_suites(model, suites)

    def replace_suite(self, suite: SuiteId, by: SuiteId) -> Sequence[str]:
        """Let another suite judge in the place of one; return the names of its models."""
        theirs = model_suites.c.suite == suite
        names = select(models.c.name).join(model_suites).where(theirs).order_by(models.c.name)
        found = self._connection.scalars(names).all()
        self._connection.execute(update(model_suites).where(theirs).values(suite=by))
        return found

    def set_policy(self, model: ModelId, policy: PolicyId) -> None:
        """Replace the policy that judges the model's next versions."""
        self._set(model, policy=policy)

    def set_sized_recipe(self, model: ModelId, recipe: DefaultRecipe) -> None:
        """Set the default recipe that a model has by its size."""
        self._set(model, sized_recipe=asdict(recipe))

    def set_own_recipe(self, model: ModelId, fields: Json) -> None:
        """Replace the fields of the default recipe that an operator has chosen; {}: none."""
        self._set(model, own_recipe=fields)

    def _set(self, model: ModelId, **values: Any) -> None:
        self._connection.execute(update(models).where(models.c.id == model).values(values))

    def _add_suites(self, model: ModelId, suites: Sequence[SuiteId]) -> None:
        rows = [
            {"model": model, "position": position, "suite": suite}
            for position, suite in enumerate(suites)
        ]
        if rows:
            self._connection.execute(insert(model_suites), rows)

    def _to_models(self, rows: Sequence[Row[Any]]) -> list[Model]:
        suites: dict[str, list[SuiteId]] = {row.id: [] for row in rows}
        for model, suite in self._connection.execute(_SUITES, {"models": list(suites)}):
            suites[model].append(suite)
        return [
            Model(
                id=row.id,
                name=row.name,
                suites=tuple(suites[row.id]),
                policy=row.policy,
                sized_recipe=from_plain(DefaultRecipe, row.sized_recipe),
                own_recipe=row.own_recipe,
                created_at=row.created_at,
            )
            for row in rows
        ]


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
            "recipe": parse_recipe(row.recipe),
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


def parse_recipe(text: str | None) -> Recipe | None:
    """Return the recipe stored with a version, or None for a root or a conversion."""
    if text is None:
        return None
    return _recipe(text) if len(text) <= LONGEST else _recipe.__wrapped__(text)


@lru_cache(KEPT)
def _recipe(text: str) -> Recipe:
    return Recipe.from_json(from_json(text))
