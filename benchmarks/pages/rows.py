"""Numbered rows of the tables that pages list."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, insert

from benchmarks.pages.made import BEGAN, digest_of
from core.domain.access.audit import Action, Change
from core.domain.jobs.order import EvaluateOrder, UpdateOrder, order_to_json
from core.domain.recipes.recipe import Recipe
from core.domain.values import DatasetId, ModelId

Row = Mapping[str, Any]

CHUNK = 1000  # rows written at a time
DATASET, WEBHOOK = "ds_products", "hook_pages"
# Half of the jobs and events pass each filter, so that few of them fill a page as many do.
FILTERED = 2
_ORDERS = (
    order_to_json(EvaluateOrder(version=1)),
    order_to_json(UpdateOrder(dataset=DatasetId(DATASET), dataset_version=1, recipe=Recipe())),
)


def write(connection: Connection, table: Table, rows: Iterator[Row]) -> None:
    """Insert rows."""
    while chunk := list(islice(rows, CHUNK)):
        connection.execute(insert(table), [dict(row) for row in chunk])


def job(made: Row, number: int) -> Row:
    """Return a job that has ended, otherwise like one that the service has made."""
    copied = {name: value for name, value in made.items() if name != "position"}
    at, is_update = BEGAN + timedelta(minutes=number), number % 3 > 0
    failed = number % FILTERED == 1
    return {
        **copied,
        "id": f"job_{number:08}",
        "type": "update" if is_update else "evaluate",
        "order": _ORDERS[is_update],
        "status": "failed" if failed else "succeeded",
        "result": None if failed else {"version": number, "verdict": "passed"},
        "error": {"code": "out_of_memory", "message": "Too little memory."} if failed else None,
        "events": 400,
        "created_at": at,
        "started_at": at,
        "finished_at": at + timedelta(minutes=4),
    }


def event(job_id: str, step: int) -> Row:
    """Return an event of a job's progress."""
    data = {"phase": "training", "step": step, "total": 400, "loss": 1 / step, "ce": 0.5 / step}
    at = BEGAN + timedelta(seconds=step)
    return {"job": job_id, "sequence": step, "kind": "progress", "data": data, "at": at}


def image(number: int) -> Row:
    """Return an image."""
    pixels = digest_of(f"image {number}")
    size = {"width": 224, "height": 224, "size": 9000}
    return {"pixels": pixels, "artifact": digest_of(pixels), "dhash": pixels[:16], **size}


def thumbnail(number: int) -> Row:
    """Return what near-duplicates of an image are found by."""
    return {"pixels": digest_of(f"image {number}"), "thumbnail": "0" * 384}


def dataset_image(number: int) -> Row:
    """Return an image's class in the large dataset."""
    names = {"slot": "", "text": f"class {number % 50}", "file_label": f"{number}.jpg"}
    return {"dataset": DATASET, "pixels": digest_of(f"image {number}"), "added_at": BEGAN, **names}


def dataset(name: str, dataset_id: str) -> Row:
    """Return a labelled dataset."""
    kind = {"kind": "labelled", "last_version": 1, "created_at": BEGAN}
    return {"id": dataset_id, "name": name, **kind}


def dataset_version(of: Row) -> Row:
    """Return the version of a dataset that a version of a model was trained on."""
    names = of["update_classes"]
    return {
        "dataset": of["dataset"],
        "number": 1,
        "manifest": of["manifest"],
        "classes": names,
        "counts": {name: {"train": 16, "holdout": 4} for name in names},
        "images": 40,
        "near_duplicates": 0,
        "created_at": of["created_at"],
    }


def move(model: ModelId, number: int) -> Row:
    """Return a promotion of a version, after one of the version two before it."""
    return {
        "model": model,
        "alias": "production",
        "revision": 1 + number // 2,
        "kind": "promoted",
        "from_version": max(1, number - 2),
        "to_version": number,
        "reason": "passed the gate",
        "actor": "key-1",
        "at": BEGAN + timedelta(hours=number),
    }


def webhook() -> Row:
    """Return a webhook whose deliveries wait."""
    rest = {"events": ["job.failed"], "description": "build server", "secret": "whsec_"}
    return {
        "id": WEBHOOK,
        "url": "https://ci.example.com",
        "paused": True,
        "created_at": BEGAN,
        **rest,
    }


def delivery(number: int) -> Row:
    """Return a delivery that has arrived."""
    names = {"event": f"evt_{number}", "type": "job.failed", "object": f"job_{number}"}
    state = {"status": "delivered", "attempts": 1, "fence": 1, "response_status": 204}
    at = {"created_at": BEGAN + timedelta(minutes=number)}
    payload = {"type": "job.failed", "data": {"job": f"job_{number}"}}
    return {
        "id": f"dlv_{number:08}",
        "webhook": WEBHOOK,
        "payload": payload,
        **names,
        **state,
        **at,
    }


def change(number: int, now: datetime) -> Change:
    """Return a change that an audit event records."""
    is_move = number // FILTERED % FILTERED == 1
    return Change(
        actor=f"key-{number % FILTERED}",
        key=None,
        action=Action.ALIAS_MOVED if is_move else Action.JOB_ORDERED,
        subject="models/demo/aliases/production" if is_move else f"jobs/job_{number:08}",
        after={"version": number},
        reason="nightly",
        at=now,
    )
