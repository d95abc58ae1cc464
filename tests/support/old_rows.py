"""A row in every table as each release wrote it, told by its schema's revision."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select

from core.adapters.database.engine import open_engine
from core.adapters.database.migrate import MIGRATIONS
from core.adapters.database.tables.schema import reflect
from core.domain.values import DatasetId, Digest, ModelId, PolicyId, SuiteId

WHEN = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
MODEL, DATASET, SUITE = ModelId("model_1"), DatasetId("ds_1"), SuiteId("suite_1")
JOB, POLICY = "job_1", PolicyId("gate_1")
WEIGHTS, MANIFEST, PIXELS, BYTES, REPORT = (Digest(str(n) * 64) for n in range(5))

Rows = dict[str, list[dict[str, Any]]]

_ORDER = {
    "dataset": DATASET,
    "dataset_version": 1,
    "recipe": {"method": "ft"},
    "alias": "production",
    "parent": None,
    "auto_promote": True,
    "prompt": None,
}
_JOB = {  # numbered by the database
    "id": JOB,
    "type": "update",
    "model": MODEL,
    "order": _ORDER,
    "status": "queued",
    "phase": "queued",
    "progress": {"step": 3, "total": 9, "eta_s": 1.5, "terms": {"loss": 0.5}},
    "parent_version": None,
    "attempt": 0,
    "lost": 0,
    "fence": 0,
    "owner": None,
    "lease_until": None,
    "checkpoint": None,
    "version": None,
    "retry_of": None,
    "result": None,
    "error": None,
    "metadata": {"ticket": "7"},
    "events": 1,
    "created_at": WHEN,
    "started_at": None,
    "finished_at": None,
}
_DONE = {
    "id": "job_2",
    "status": "succeeded",
    "phase": "done",
    "result": {"version": 1, "report": REPORT, "verdict": "passed"},
    "retry_of": JOB,
    "finished_at": WHEN,
}
_VERSION = {
    "model": MODEL,
    "number": 1,
    "status": "promoted",
    "digest": WEIGHTS,
    "size": 2**40,
    "parent": None,
    "job": JOB,
    "recipe": None,
    "dataset": DATASET,
    "dataset_version": 1,
    "update_classes": ["cat"],
    "classes": ["cat"],
    "prompt": "a {name}",
    "verdict": "passed",
    "report": REPORT,
    "environment": {"torch": "2.6"},
    "created_at": WHEN,
}
_FIRST: Rows = {
    "datasets": [
        {"id": DATASET, "name": "pets", "kind": "labelled", "last_version": 1, "created_at": WHEN}
    ],
    "images": [
        {
            "pixels": PIXELS,
            "artifact": BYTES,
            "width": 8,
            "height": 6,
            "size": 100,
            "dhash": "5" * 16,
        }
    ],
    "dataset_images": [
        {
            "dataset": DATASET,
            "pixels": PIXELS,
            "slot": "",
            "text": "cat",
            "file_label": "cat.png",
            "added_at": WHEN,
        }
    ],
    "dataset_versions": [
        {
            "dataset": DATASET,
            "number": 1,
            "manifest": MANIFEST,
            "classes": ["cat"],
            "counts": {"cat": {"train": 1}},
            "images": 1,
            "near_duplicates": 0,
            "created_at": WHEN,
        }
    ],
    "trained_images": [{"pixels": PIXELS, "dataset": DATASET, "number": 1}],
    "suites": [
        {
            "id": SUITE,
            "name": "emoji",
            "kind": "zero_shot",
            "manifest": MANIFEST,
            "classes": ["cat"],
            "images": 1,
            "prompt": "a {name}",
            "created_at": WHEN,
        }
    ],
    "suite_images": [{"pixels": PIXELS, "suite": SUITE}],
    "suite_dhashes": [{"dhash": "5" * 16, "suite": SUITE}],
    "policies": [
        {
            "id": POLICY,
            "name": "default",
            "parent_tolerance": 0.02,
            "root_tolerance": 0.03,
            "holdout_tolerance": 0.04,
            "wanted_gain": 0.0,
            "minimum_count": 20,
            "alpha": 0.05,
            "reason": "",
            "created_at": WHEN,
        }
    ],
    "models": [
        {"id": MODEL, "name": "demo", "policy": POLICY, "last_version": 1, "created_at": WHEN}
    ],
    "model_suites": [{"model": MODEL, "position": 0, "suite": SUITE}],
    "jobs": [_JOB, _JOB | _DONE],
    "job_events": [{"job": JOB, "sequence": 1, "kind": "queued", "data": {}, "at": WHEN}],
    "versions": [_VERSION],
    "aliases": [
        {"model": MODEL, "name": "production", "version": 1, "revision": 1, "updated_at": WHEN}
    ],
    "alias_moves": [
        {
            "model": MODEL,
            "alias": "production",
            "revision": 1,
            "kind": "created",
            "from_version": None,
            "to_version": 1,
            "reason": "",
            "actor": "import",
            "at": WHEN,
        }
    ],
    "keys": [{"digest": "6" * 64, "name": "admin", "role": "admin", "created_at": WHEN}],
    "idempotency": [
        {"actor": "admin", "key": "once", "body": "7" * 64, "job": JOB, "created_at": WHEN}
    ],
    "answers": [{"question": "8" * 64, "version": WEIGHTS, "answers": "9" * 64}],
    "beats": [{"worker": "host:1:2", "facts": {"device": "cpu"}, "at": 1.5}],
}
# What each revision has added: columns with their values in every row, or new tables.
_ADDED: dict[str, Rows] = {
    "0002": {
        "jobs": [{"suites": [SUITE]}],
        "versions": [
            {"reference": {"dataset": DATASET, "version": 1}, "notes": {"mixing": 0.6}},
        ],
    },
    "0003": {
        "jobs": [{"priority": 7}],
        "tallies": [{"name": "jobs_ended", "labels": '{"type": "update"}', "value": 3.0}],
    },
    "0004": {"versions": [{"collected_at": WHEN}]},
    "0006": {"jobs": [{"pauses": 2, "paused_until": 1.5}]},
    "0007": {
        "datasets": [{"revision": 1}],
        "thumbnails": [{"pixels": PIXELS, "thumbnail": "00" * 192, "near_duplicate_of": None}],
    },
    "0008": {
        "jobs": [{"precision": "fp32"}],
        "versions": [{"environments": [{"torch": "2.6"}]}],
    },
    "0009": {"jobs": [{"policy": POLICY}], "alias_moves": [{"override": True}]},
    "0010": {"jobs": [{"lane": MODEL}]},
    "0011": {"policies": [{"line_error": 0.05, "line_updates": 50, "negative_flips": 0.04}]},
    "0012": {
        "audit_events": [
            {
                "sequence": 1,
                "actor": "admin",
                "key": None,
                "action": "model.configured",
                "subject": "models/demo",
                "before": {"policy": "default"},
                "after": {"policy": "strict"},
                "reason": "",
                "request_id": "req_1",
                "at": WHEN,
                "hash": "a" * 64,
            }
        ],
        "audit_head": [{"id": 1, "sequence": 1, "hash": "a" * 64}],
    },
    "0013": {
        "api_keys": [
            {
                "id": "key_1",
                "name": "admin",
                "role": "admin",
                "models": None,
                "prefix": "pk_abcdef",
                "created_at": WHEN,
                "expires_at": None,
                "rotated_at": WHEN,
                "revoked_at": None,
            }
        ],
        "api_key_secrets": [{"digest": "6" * 64, "key": "key_1", "valid_until": None}],
    },
    "0014": {
        "webhooks": [
            {
                "id": "hook_1",
                "url": "https://example.com/told",
                "events": ["job.failed"],
                "models": None,
                "description": "",
                "secret": "whsec_c2VjcmV0",
                "former_secret": None,
                "former_until": None,
                "paused": True,
                "created_at": WHEN,
            }
        ],
        "webhook_deliveries": [
            {
                "id": "dlv_1",
                "webhook": "hook_1",
                "event": "evt_1",
                "type": "job.failed",
                "object": JOB,
                "payload": {"type": "job.failed", "data": {"job": JOB}},
                "status": "pending",
                "attempts": 1,
                "fence": 1,
                "lease_until": None,
                "response_status": 500,
                "error": {"code": "receiver_refused"},
                "created_at": WHEN,
                "attempted_at": WHEN,
                "next_attempt_at": WHEN,
            }
        ],
    },
    "0015": {"versions": [{"feature_statistics": {"cat": "a" * 64}}]},
    "0016": {
        "versions": [{"deleted_at": None}],
        "datasets": [{"description": "of pets", "metadata": {"by": "us"}, "duplicates": 2}],
    },
}
NUMBERED = {"jobs", "thumbnails", "webhook_deliveries"}  # by the database


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """A connection that commits at the end."""
    engine = open_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def revisions() -> list[str]:
    """All revisions, oldest first."""
    walk = ScriptDirectory(str(MIGRATIONS)).walk_revisions()
    return [script.revision for script in reversed(list(walk))]


def rows_at(revision: str) -> Rows:
    """The rows of every table at a revision."""
    rows = {table: [dict(row) for row in some] for table, some in _FIRST.items()}
    for added in (r for r in revisions() if r <= revision and r in _ADDED):
        for table, (columns,) in _ADDED[added].items():
            rows[table] = [row | columns for row in rows.get(table, [{}])]
    return rows


def write_rows(connection: Connection, revision: str) -> None:
    """Write them all."""
    rows = rows_at(revision)
    for table in reflect(connection).sorted_tables:
        for row in rows.get(table.name, []):
            numbered = {"position"} if table.name in NUMBERED else set()
            assert row.keys() | numbered == {column.name for column in table.c}, table.name
            connection.execute(table.insert().values(row))


def read_rows(connection: Connection) -> dict[str, list[str]]:
    """Every row of every table, as text."""
    return {
        table.name: sorted(str(tuple(row)) for row in connection.execute(select(table)))
        for table in reflect(connection).sorted_tables
        if table.name != "alembic_version"
    }
