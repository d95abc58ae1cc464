"""Which unfinished jobs need a dataset: the conditions that datasets ask of rows of jobs."""

from sqlalchemy import ColumnElement, and_

from core.database.tables import jobs
from core.datasets.version_rows import WILL_FILL, WILL_LEARN, WILL_READ, either
from core.jobs.claim_rows import UNFINISHED
from core.jobs.orders import JobType
from core.values import DatasetId


def _will_learn(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    order = jobs.c.order
    named = either(
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


def _will_import(dataset: DatasetId, number: int | None) -> ColumnElement[bool]:
    del number
    into = jobs.c.order["dataset"].as_string() == dataset
    return and_(jobs.c.type == JobType.IMPORT_IMAGES, jobs.c.status.in_(UNFINISHED), into)


WILL_LEARN.append(_will_learn)
WILL_READ.append(_will_embed)
WILL_FILL.append(_will_import)
