"""The addresses of all pages, and what they need to have something to show, or nothing."""

from collections.abc import Sequence

from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.exports.rows import Exports
from core.platform import Platform
from core.registry.exports import Export, ExportFormat
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.trials.rows import Trials
from core.trials.rules import CoursePoint
from perennial.client import Client
from perennial.requests import ImageFile
from tests.support.api.image_files import picture
from tests.support.api.seeds import a_candidate, a_root, a_sample
from tests.support.api.service import KEY
from tests.support.scene import Scene

SCRIPT = '"><img src=x onerror=alert(1)>'

NOTE = {"note": SCRIPT}

LINE, PRODUCTS = "/ui/models/line", "/ui/datasets/products"


def full_pages(url: str, scene: Scene) -> Sequence[str]:
    """Fill a service that has the model `line`, with a script in every text; return its pages."""
    with Client(url, KEY, trust_env=False) as client:
        webhook = _write_scripts(client)
        _add_unlabelled(client, scene)
        job = next(iter(client.jobs.list(model="line")))["id"]
    _fill_trial(scene)
    _add_export(scene.platform)
    return (
        "/ui",
        "/ui/first-steps",
        LINE,
        f"{LINE}/versions/2",
        f"{LINE}/versions/2/report",
        f"{LINE}/versions/2/files",
        f"{LINE}/versions/2/exports/onnx/deletion",
        f"{LINE}/versions/2/deletion",
        f"{LINE}/versions/2/holdout/images",
        f"{LINE}/deletion",
        f"{LINE}/changes?now=2",
        f"{LINE}/changes/images?before=1&now=2",
        f"{LINE}/aliases/production/promotion?version=2",
        f"{LINE}/aliases/staging/rollback",
        f"{LINE}/try",
        f"{LINE}/map?now=2",
        f"{LINE}/policy",
        f"{LINE}/policy/change",
        f"{LINE}/trial",
        "/ui/suites",
        "/ui/suites/easy/images",
        "/ui/suites/shelf/label",
        "/ui/datasets",
        "/ui/datasets/scripts",
        "/ui/datasets/scripts/versions/1",
        "/ui/datasets/scripts/versions/1/images",
        PRODUCTS,
        f"{PRODUCTS}/statistics",
        f"{PRODUCTS}/images?class=bag",
        f"{PRODUCTS}/near-duplicates",
        f"{PRODUCTS}/versions/1",
        f"{PRODUCTS}/versions/1/images?class=bag",
        f"{PRODUCTS}/versions/1/diff?against=1",
        f"{PRODUCTS}/versions/1/update",
        f"{PRODUCTS}/versions/1/suite",
        f"{PRODUCTS}/versions/1/deletion",
        f"{PRODUCTS}/deletion",
        "/ui/jobs",
        f"/ui/jobs/{job}",
        "/ui/audit",
        "/ui/audit/chain",
        "/ui/keys",
        "/ui/keys/admin",
        "/ui/webhooks",
        f"/ui/webhooks/{webhook}",
        "/ui/sign-in",
        "/guide",
        "/guide/how-to/policy",
        "/guide/search?q=policy",
        "/ui/nowhere",
    )


def _add_export(platform: Platform) -> None:
    with platform.transactions() as work:
        version = work[Versions].get(work[Models].get("line").id, 2)
        export = Export(
            model=version.model,
            version=version.number,
            format=ExportFormat.ONNX,
            artifact=version.digest,
            size=4096,
            check={},
            job=version.job,
            created_at=version.created_at,
        )
        work[Exports].put(export)
        work.commit()


def lists_without_rows() -> Sequence[str]:
    """Return the pages of a service that nobody has used."""
    lists = ("", "/first-steps", "/suites", "/datasets", "/jobs", "/audit", "/keys", "/webhooks")
    return [f"/ui{name}" for name in lists]


def empty_pages(url: str, platform: Platform) -> Sequence[str]:
    """Make models, a dataset and filters that have nothing to show; return their pages."""
    fresh, coming, nothing = "/ui/models/fresh", "/ui/models/coming", "/ui/datasets/nothing"
    a_candidate(platform, a_root(platform, "fresh"))
    with Client(url, KEY, trust_env=False) as client:
        client.models.create("coming")
        client.datasets.create("nothing")
    return (
        fresh,
        f"{fresh}/versions/1",
        f"{fresh}/versions/2",
        f"{fresh}/changes?now=2",
        f"{fresh}/map?now=2",
        f"{fresh}/map?before=2&now=2",
        f"{fresh}/policy",
        f"{fresh}/policy/change",
        f"{fresh}/trial",
        f"{fresh}/aliases/production/promotion?version=1",
        coming,
        f"{coming}/try",
        f"{coming}/trial",
        nothing,
        f"{nothing}/statistics",
        f"{nothing}/images",
        f"{nothing}/near-duplicates",
        f"{LINE}/changes/images?before=1&now=2&class=none",
        f"{PRODUCTS}/versions/1/images?class=none",
        "/ui/jobs?model=fresh&status=failed",
        "/ui/audit?actor=nobody",
        "/guide/search?q=xyzzy",
    )


def _write_scripts(client: Client) -> str:
    """Put a script into every text that a person may choose; return the id of the webhook."""
    client.datasets.create("scripts", kind="captioned", description=SCRIPT, metadata=NOTE)
    image = ImageFile(file_name=f"{SCRIPT}.png", data=picture(3))
    client.datasets.upload("scripts", [(SCRIPT, image)])
    client.datasets.freeze("scripts")
    client.policies.create("scripts", reason=SCRIPT)
    client.models.change("line", policy="scripts", reason="a test")
    why = {"reason": SCRIPT, "override": True}
    live = client.aliases.get("line")
    client.aliases.promote("line", 2, expected_revision=live["revision"], **why)
    client.aliases.roll_back("line", reason=SCRIPT)
    for revision, version in enumerate((1, 2)):
        client.aliases.promote("line", version, alias="staging", expected_revision=revision, **why)
    client.trials.start("line", 2, mode="shadow", reason=SCRIPT)
    client.jobs.order_update(model="line", dataset="products", dataset_version=1, metadata=NOTE)
    hook = {"url": "https://93.184.216.34/", "events": ["job.failed"], "description": SCRIPT}
    return str(client.request("POST", "/v1/webhooks", json=hook).json()["id"])


def _add_unlabelled(client: Client, scene: Scene) -> None:
    """Add a suite of images without labels."""
    data = scene.frozen("", each=2, offset=900, kind=DatasetKind.UNLABELLED)
    body = {"name": "shelf", "kind": "unlabelled", "classes": [SCRIPT, "cat"]}
    body |= {"dataset": data.dataset, "dataset_version": data.number}
    client.request("POST", "/v1/suites", json=body)


def _fill_trial(scene: Scene) -> None:
    """Give the trial of the model `line` a course and a sample."""
    with scene.platform.transactions() as work:
        (trial,) = work[Trials].running()
        labels = ("labelled_current", "labelled_candidate", "labelled_disagreed")
        counts = dict.fromkeys(("disagreed", *labels), 9)
        work[Trials].count(trial.id, counts | {"right_candidate": 9, "gained": 9, "sampled": 1})
        point = CoursePoint(
            trial=trial.id, labels=2, estimate=1.0, lower=-0.9, upper=1.0, at=trial.started_at
        )
        work[Trials].note_course([point])
        (row, *_) = work[Datasets].image_page(work[Datasets].get("scripts").id, 1, None)
        work.commit()
    data = scene.platform.artifacts.get(row.image.artifact)
    a_sample(scene.platform, trial.id, data, answer=SCRIPT, pixels=row.image.pixels)
