"""Rows of models."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, union, update

from core.database.statements import find_named, insert_new, page_by_id
from core.database.tables import (
    alias_moves,
    aliases,
    job_events,
    jobs,
    model_suites,
    models,
    verdicts,
    versions,
)
from core.database.work import Rows, Work
from core.errors import ModelNotFound, NameTaken
from core.hooks import Hook
from core.recipes.defaults import DefaultRecipe
from core.registry.versions import Model
from core.values import DatasetId, Json, ModelId, PolicyId, SuiteId, from_plain

# What takes part, in the same transaction, before the model's own rows are deleted. The rows of its
# versions are locked by then.
DELETE_WITH_MODEL = Hook[[Connection, ModelId], None]("the deletion of a model")

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

    def hold(self, model: ModelId) -> None:
        """Keep others that hold the model from going on before commit; raises ModelNotFound.

        Jobs and versions can be added. Whoever holds a version too holds the model first.
        """
        held = select(models.c.id).where(models.c.id == model).with_for_update(key_share=True)
        if self._connection.scalar(held) is None:
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
        self.hold(model)  # else two concurrent choices would mix row by row
        self._connection.execute(delete(model_suites).where(model_suites.c.model == model))
        self._add_suites(model, suites)

    def add_suite(self, model: ModelId, suite: SuiteId) -> None:
        """Let one more suite judge the model's next versions; the others may grow meanwhile."""
        self.hold(model)
        theirs = select(func.max(model_suites.c.position)).where(model_suites.c.model == model)
        last = self._connection.scalar(theirs)
        position = 0 if last is None else last + 1
        row = {"model": model, "position": position, "suite": suite}
        self._connection.execute(insert(model_suites), row)

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
