"""Models, each a named line of versions."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from core.adapters.database.statements import find_named, insert_new, page_by_id
from core.adapters.database.tables.exports import exports
from core.adapters.database.tables.jobs import job_events, jobs
from core.adapters.database.tables.models import (
    alias_moves,
    aliases,
    model_suites,
    models,
    versions,
)
from core.adapters.database.tables.trials import (
    trial_callers,
    trial_counts,
    trial_course,
    trial_predictions,
    trial_samples,
    trials,
)
from core.adapters.database.tables.vectors import index_reports, vectors
from core.domain.registry.version import Model
from core.domain.values import DatasetId, ModelId, PolicyId, SuiteId
from core.errors import ModelNotFound, NameTaken

# Built once: building a statement takes longer than running it.
_SUITES = (
    select(model_suites.c.model, model_suites.c.suite)
    .where(model_suites.c.model.in_(bindparam("models", expanding=True)))
    .order_by(model_suites.c.position)
)


class SqlModels:
    """The `Models` port over SQL; with `visible`, other models are not there."""

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
        query = (
            select(versions.c.dataset, models.c.name)
            .join(models, models.c.id == versions.c.model)
            .where(versions.c.dataset.in_(datasets))
            .distinct()
            .order_by(models.c.name)
        )
        if self._visible is not None:
            query = query.where(models.c.id.in_(self._visible))
        found: dict[DatasetId, list[str]] = {}
        for row in self._connection.execute(query):
            found.setdefault(row.dataset, []).append(row.name)
        return found

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
        # Versions first, as promotions lock the version before they write an alias.
        rows = select(versions.c.number).where(versions.c.model == model)
        self._connection.execute(rows.order_by(versions.c.number).with_for_update())
        theirs = select(jobs.c.id).where(jobs.c.model == model)
        self._connection.execute(delete(job_events).where(job_events.c.job.in_(theirs)))
        of_versions = (exports, vectors, index_reports, versions)
        # Locked, as by whoever adds to one of them, so that nothing is added meanwhile.
        held = select(trials.c.id).where(trials.c.model == model).order_by(trials.c.id)
        tried = self._connection.scalars(held.with_for_update()).all()
        of_trials = (trial_predictions, trial_callers, trial_counts, trial_course, trial_samples)
        for table in of_trials:
            self._connection.execute(delete(table).where(table.c.trial.in_(tried)))
        for table in (trials, alias_moves, aliases, *of_versions, model_suites, jobs):
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

    def set_policy(self, model: ModelId, policy: PolicyId) -> None:
        """Replace the policy that judges the model's next versions."""
        self._connection.execute(update(models).where(models.c.id == model).values(policy=policy))

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
                created_at=row.created_at,
            )
            for row in rows
        ]
