"""Uses of a dataset version: by versions of models and datasets, suites and unfinished jobs."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from core.adapters.database.jobs.rows import UNFINISHED
from core.adapters.database.tables.datasets import dataset_versions
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.tables.models import models, versions
from core.adapters.database.tables.suites import suites
from core.domain.jobs.order import JobType
from core.domain.values import DatasetId
from core.ports import DatasetUses


def uses_of(connection: Connection, dataset: DatasetId, number: int | None = None) -> DatasetUses:
    """Return what needs a version of a dataset; without a number, any version or the dataset.

    Suites name no dataset version, but have its manifest.
    """
    learned = (
        select(models.c.name, versions.c.number)
        .join(versions, versions.c.model == models.c.id)
        .where(_has_learned(dataset, number))
        .order_by(models.c.name, versions.c.number)
    )
    held = select(dataset_versions.c.manifest).where(
        dataset_versions.c.dataset == dataset,
        *([] if number is None else [dataset_versions.c.number == number]),
    )
    made = select(suites.c.name).where(suites.c.manifest.in_(held)).order_by(suites.c.name)
    will_need = or_(_will_learn(dataset, number), _will_embed(dataset, number))
    if number is None:
        will_need = or_(will_need, _will_import(dataset))
    replaced = (
        select(dataset_versions.c.number)
        .where(dataset_versions.c.dataset == dataset, dataset_versions.c.replaced_by == number)
        .order_by(dataset_versions.c.number)
    )
    waiting = select(jobs.c.id).where(will_need).order_by(jobs.c.position)
    return DatasetUses(
        versions=[f"{row.name}:{row.number}" for row in connection.execute(learned)],
        suites=list(connection.scalars(made)),
        jobs=list(connection.scalars(waiting)),
        replaced=[] if number is None else list(connection.scalars(replaced)),
    )


def is_trained_on(connection: Connection, dataset: DatasetId) -> bool:
    """Return whether a version has learned from a dataset, or an unfinished job will."""
    has_trained = select(versions.c.number).where(_has_learned(dataset, None))
    will_train = select(jobs.c.position).where(_will_learn(dataset, None))
    return bool(connection.scalar(select(or_(has_trained.exists(), will_train.exists()))))


def _has_learned(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    reference = versions.c.reference
    return _either(
        (versions.c.dataset, versions.c.dataset_version),
        (reference["dataset"].as_string(), reference["version"].as_integer()),
        dataset,
        number,
    )


def _will_learn(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    order = jobs.c.order
    named = _either(
        (order["dataset"].as_string(), order["dataset_version"].as_integer()),
        (
            order[("reference", "dataset")].as_string(),
            order[("reference", "version")].as_integer(),
        ),
        dataset,
        number,
    )
    return and_(jobs.c.type == JobType.UPDATE, jobs.c.status.in_(UNFINISHED), named)


def _will_embed(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    order = jobs.c.order
    return and_(
        jobs.c.type == JobType.REEMBED,
        jobs.c.status.in_(UNFINISHED),
        order["dataset"].as_string() == dataset,
        *([] if number is None else [order["dataset_version"].as_integer() == number]),
    )


def _will_import(dataset: DatasetId) -> ColumnElement[bool]:
    into = jobs.c.order["dataset"].as_string() == dataset
    return and_(jobs.c.type == JobType.IMPORT_IMAGES, jobs.c.status.in_(UNFINISHED), into)


def _either(
    taught: tuple[Any, Any], distilled: tuple[Any, Any], dataset: DatasetId, number: int | None
) -> ColumnElement[bool]:
    return or_(
        *(
            and_(column == dataset, *([] if number is None else [numbers == number]))
            for column, numbers in (taught, distilled)
        )
    )
