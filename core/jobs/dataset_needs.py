"""Conditions on rows of jobs: which unfinished ones need a dataset."""

from sqlalchemy import ColumnElement, and_

from core.database.tables import jobs
from core.datasets.version_rows import any_of
from core.jobs.claim_rows import UNFINISHED
from core.jobs.orders import BESIDE, JobType
from core.values import DatasetId


def will_learn(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    """Return the condition that an unfinished update learns from a dataset, or refers to it."""
    order = jobs.c.order
    named = any_of(
        dataset,
        number,
        (order["dataset"].as_string(), order["dataset_version"].as_integer()),
        *(
            (order[(name, "dataset")].as_string(), order[(name, "version")].as_integer())
            for name in BESIDE
        ),
    )
    return and_(jobs.c.type == JobType.UPDATE, jobs.c.status.in_(UNFINISHED), named)


def will_embed(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    """Return the condition that an unfinished job computes the vectors of a dataset."""
    order = jobs.c.order
    return and_(
        jobs.c.type == JobType.REEMBED,
        jobs.c.status.in_(UNFINISHED),
        order["dataset"].as_string() == dataset,
        *([] if number is None else [order["dataset_version"].as_integer() == number]),
    )


def will_import(dataset: DatasetId) -> ColumnElement[bool]:
    """Return the condition that an unfinished import adds images to a dataset."""
    into = jobs.c.order["dataset"].as_string() == dataset
    return and_(jobs.c.type == JobType.IMPORT_IMAGES, jobs.c.status.in_(UNFINISHED), into)
