"""The pages that are measured."""

from benchmarks.pages.rows import WEBHOOK
from benchmarks.pages.seed import DATASET, MODEL, Sizes, job_of

HERE = f"/ui/models/{MODEL}"


def pages_of(sizes: Sizes) -> dict[str, str]:
    """Return the paths of pages by name; "late" pages are near the end of a list."""
    newest, middle = sizes.versions, sizes.versions // 2
    changes = f"{HERE}/changes"
    return {
        "models": "/ui",
        "model": HERE,
        "model, older versions": f"{HERE}?before={middle}",
        "version": f"{HERE}/versions/{newest}",
        "report": f"{HERE}/versions/{newest}/report",
        "changes": f"{changes}?now={newest}",
        "changed images": f"{changes}/images?before={newest - 1}&now={newest}",
        "map": f"{HERE}/map?now={newest}",
        "promotion": f"{HERE}/aliases/production/promotion?version={newest - 1}",
        "rollback": f"{HERE}/aliases/production/rollback",
        "try": f"{HERE}/try",
        "policy": f"{HERE}/policy",
        "change of policy": f"{HERE}/policy/change",
        "trial": f"{HERE}/trial",
        "suites and policies": "/ui/suites",
        "datasets": "/ui/datasets",
        "datasets, late": "/ui/datasets?after=ds_000020",
        "dataset": f"/ui/datasets/{DATASET}",
        "images of a class": f"/ui/datasets/{DATASET}/images?class=class+7",
        "near-duplicates": f"/ui/datasets/{DATASET}/near-duplicates",
        "dataset version": f"/ui/datasets/update-{newest}/versions/1",
        "images of a version": f"/ui/datasets/update-{newest}/versions/1/images",
        "order of an update": f"/ui/datasets/update-{newest}/versions/1/update",
        "jobs": "/ui/jobs",
        "jobs, late": "/ui/jobs?after=job_00000050",
        "jobs that failed": "/ui/jobs?status=failed",
        "jobs of a model": f"/ui/jobs?model={MODEL}&type=update",
        "job": f"/ui/jobs/{job_of(newest)}",
        "audit": "/ui/audit",
        "audit, late": "/ui/audit?after=60",
        "audit of a model": f"/ui/audit?model={MODEL}",
        "audit of a key": "/ui/audit?actor=key-1",
        "keys": "/ui/keys",
        "webhooks": "/ui/webhooks",
        "webhook": f"/ui/webhooks/{WEBHOOK}",
    }
