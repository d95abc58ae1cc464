"""A row in every table as the first release wrote it."""

from datetime import UTC, datetime
from typing import Any

from core.values import DatasetId, Digest, ModelId, PolicyId, SuiteId

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

FIRST: Rows = {
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
