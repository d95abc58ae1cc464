"""Columns with their values in every row, and tables, that each revision of the schema added."""

from tests.support.old_rows.first_release import (
    DATASET,
    JOB,
    MODEL,
    PIXELS,
    POLICY,
    SUITE,
    WHEN,
    Rows,
)

ADDED: dict[str, Rows] = {
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
    "0018": {"jobs": [{"trace": f"00-{'a' * 32}-{'b' * 16}-01"}]},
    "0019": {
        "versions": [{"erasure": "era_1", "replaces": None}],
        "dataset_versions": [{"replaced_by": None}],
        "erasures": [
            {
                "id": "era_1",
                "images": ["e" * 64],
                "reason": "asked for by its subject",
                "retraining": "all",
                "actor": "admin",
                "job": "job_1",
                "created_at": WHEN,
                "erased_at": None,
                "findings": None,
            }
        ],
        "erased_images": [{"pixels": "e" * 64, "artifact": "f" * 64, "erasure": "era_1"}],
    },
    "0020": {
        "uploads": [
            {
                "id": "up_1",
                "owner": "admin",
                "length": 2**40,
                "offset": 7,
                "parts": ["b" * 64],
                "created_at": WHEN,
                "expires_at": WHEN,
            }
        ]
    },
    "0021": {"jobs": [{"ordered_by": "key_1"}]},
    "0023": {
        "exports": [
            {
                "model": MODEL,
                "version": 1,
                "format": "onnx",
                "artifact": "c" * 64,
                "size": 2**40,
                "check": {"least_cosine_images": 0.99999},
                "job": JOB,
                "created_at": WHEN,
            }
        ]
    },
    "0026": {
        "versions": [
            {
                "origin": {
                    "model": "pets",
                    "version": 3,
                    "signed_by": "lab",
                    "key_id": "d" * 64,
                    "bundle": "e" * 64,
                    "record": "f" * 64,
                }
            }
        ]
    },
    "0027": {"sessions": [{"digest": "c" * 64, "secret": "6" * 64, "expires_at": WHEN}]},
    "0028": {
        "vectors": [
            {
                "model": MODEL,
                "version": 1,
                "dataset": DATASET,
                "dataset_version": 1,
                "digest": "a" * 64,
                "artifact": "b" * 64,
                "size": 2**40,
                "images": "c" * 64,
                "rows": 7,
                "width": 512,
                "job": JOB,
                "created_at": WHEN,
            }
        ],
        "index_reports": [
            {
                "model": MODEL,
                "version": 2,
                "baseline": 1,
                "report": "d" * 64,
                "bridge": "e" * 64,
                "sources": [SUITE],
                "job": JOB,
                "created_at": WHEN,
            }
        ],
    },
    "0029": {
        "aliases": [{"trial": "trial_1"}],
        "trials": [
            {
                "id": "trial_1",
                "model": MODEL,
                "alias": "production",
                "mode": "canary",
                "current": 1,
                "candidate": 1,
                "share": 0.1,
                "reason": "is it better?",
                "started_by": "admin",
                "started_at": WHEN,
                "ended_by": None,
                "ended_at": None,
                "end": None,
            }
        ],
        "trial_counts": [{"trial": "trial_1", "name": "answered_current", "value": 2**40}],
        "trial_predictions": [
            {
                "id": "pred_1",
                "trial": "trial_1",
                "mode": "canary",
                "arm": "current",
                "answer": "cat",
                "shadowed": None,
                "shadow_answer": None,
                "label": "cat",
                "at": WHEN,
            }
        ],
    },
    "0030": {
        "trial_predictions": [{"caller": "c" * 64, "same_caller": True}],
        "trial_callers": [{"trial": "trial_1", "caller": "c" * 64}],
    },
    "0032": {
        "trial_samples": [
            {
                "trial": "trial_1",
                "pixels": "d" * 64,
                "artifact": "e" * 64,
                "prediction": "pred_1",
                "answer": "cat",
                "shadow_answer": "dog",
                "at": WHEN,
            }
        ],
    },
    "0033": {"key_uses": [{"key": "key_1", "at": WHEN}]},
    "0034": {
        "trial_course": [
            {
                "trial": "trial_1",
                "labels": 2**40,
                "estimate": 0.1,
                "lower": -0.1,
                "upper": 0.3,
                "at": WHEN,
            }
        ],
    },
    "0035": {"trial_samples": [{"size": 2**40}]},
}
