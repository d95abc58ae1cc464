"""Numbered rows of the tables that are listed, written past the service's rules.

The first FEW rows, which are the oldest, differ from the others in what lists filter by.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from core.adapters.database.engine import open_engine
from core.adapters.database.tables.audit import audit_events
from core.adapters.database.tables.datasets import dataset_images, datasets, images, thumbnails
from core.adapters.database.tables.jobs import jobs
from core.adapters.database.tables.models import models, versions
from core.adapters.database.tables.webhooks import deliveries, webhooks
from core.domain.values import sha256

Row = Mapping[str, Any]

FEW, CHUNK = 20, 1000
RARE, USUAL = "few", "many"  # a model, a class, a value of metadata, an actor, an action, a subject
DATASET, WEBHOOK = "ds_lists", "wh_lists"
FIRST_NUMBER = 1000  # of versions and audit events: above those that the service has written
BEGAN = datetime(2026, 4, 1, tzinfo=UTC)


def prepare(url: str, job: str) -> None:
    """Add what the numbered rows refer to: a model, copied from that of the job, and others."""
    engine = open_engine(url)
    with engine.begin() as connection:
        model = models.c.id == select(jobs.c.model).where(jobs.c.id == job).scalar_subquery()
        held = connection.execute(select(models).where(model)).one()
        connection.execute(insert(models), [{**held._mapping, "id": RARE, "name": RARE}])
        dataset = {"id": DATASET, "name": "lists", "kind": "labelled", "last_version": 0}
        connection.execute(insert(datasets), [{**dataset, "created_at": BEGAN}])
        webhook = {"id": WEBHOOK, "url": "https://example.org", "events": [], "paused": True}
        rest = {"description": "", "secret": "", "created_at": BEGAN}
        connection.execute(insert(webhooks), [{**webhook, **rest}])
    engine.dispose()


def grow(url: str, job: str, numbers: range) -> None:
    """Write rows of these numbers to each table; jobs and versions are copies of those of a job."""
    engine = open_engine(url)
    with engine.begin() as connection:
        job_row = _only(connection, jobs, jobs.c.id == job, but="position")
        of_job = versions.c.job == job
        version_row = _only(connection, versions, of_job & (versions.c.number < FIRST_NUMBER))
        makers: dict[Table, Callable[[int], Row]] = {
            jobs: lambda number: {**job_row, **_job(number)},
            versions: lambda number: {**version_row, "number": FIRST_NUMBER + number},
            images: _image,
            thumbnails: lambda number: {"pixels": pixels(number), "thumbnail": "0" * 384},
            dataset_images: _dataset_image,
            audit_events: _audit_event,
            deliveries: _delivery,
        }
        for table, make in makers.items():
            rest = iter(numbers)
            while chunk := list(islice(rest, CHUNK)):
                connection.execute(insert(table), [make(number) for number in chunk])
    if engine.dialect.name == "postgresql":  # as it does by itself after a while
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()


def pixels(number: int) -> str:
    """Return the digest of an image's pixels."""
    return sha256(str(number).encode())


def created_at(number: int) -> datetime:
    """Return when a row was written."""
    return BEGAN + timedelta(minutes=number)


def _only(connection: Connection, table: Table, condition: Any, *, but: str = "") -> Row:
    row = connection.execute(select(table).where(condition)).one()._mapping
    return {name: value for name, value in row.items() if name != but}


def _kind(number: int) -> str:
    return RARE if number < FEW else USUAL


def _job(number: int) -> Row:
    rare = {"model": RARE, "lane": RARE, "status": "failed"} if number < FEW else {}
    metadata = {"team": _kind(number)}
    identity = {"id": f"job_{number:07}", "created_at": created_at(number)}
    return {**rare, **identity, "metadata": metadata}


def _image(number: int) -> Row:
    size = {"width": 28, "height": 28, "size": 900}
    return {"pixels": pixels(number), "artifact": "0" * 64, "dhash": "0" * 16, **size}


def _dataset_image(number: int) -> Row:
    texts = {"slot": "", "text": _kind(number), "file_label": f"{number}.jpg"}
    return {"dataset": DATASET, "pixels": pixels(number), "added_at": BEGAN, **texts}


def _audit_event(number: int) -> Row:
    names = dict.fromkeys(("actor", "action", "subject"), _kind(number))
    numbered = {"sequence": FIRST_NUMBER + number, "at": created_at(number)}
    return {**names, **numbered, "reason": "", "hash": "0" * 64}


def _delivery(number: int) -> Row:
    names = {"event": f"evt_{number}", "type": "job.succeeded", "object": "jobs/1", "payload": {}}
    state = {"status": "delivered", "attempts": 1, "fence": 1, "created_at": created_at(number)}
    return {"id": f"dlv_{number:07}", "webhook": WEBHOOK, **names, **state}
