"""The demo's steps: create, upload, update, evaluate, promote, classify and roll back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from demo import pack_reader, recipes
from demo.pack_reader import PackImage
from demo.service import Service
from demo.show import Json, Show
from perennial import Client, ServiceError
from perennial.types.datasets import DatasetKind, DatasetVersion
from perennial.types.reports import Measure, Report
from perennial.types.suites import SuiteKind

MODEL = "demo"
UPLOADED_PER_CLASS = 250  # a fifth of them falls on the holdout side
SHOWN_PER_CLASS = 20
POLL_S = 0.3


def walk(service: Service, *, seed: int) -> dict[str, Any]:
    """Run all steps in order and return the final table as JSON."""
    show = Show()
    with service.client() as client:
        show.step(1, f"The service runs at {service.url}; its files are in {service.home}")
        create_model(client, show)
        dataset, unseen = upload_products(client, show)
        passed = update(client, show, 4, "VR-LwF", dataset, recipes.VRLWF | {"seed": seed})
        failed = update(
            client, show, 5, "Fine-tuning", dataset, recipes.FINE_TUNING | {"seed": seed}
        )
        refusal = _promote_anyway(client, show, failed)
        hits = _classify(client, show, unseen, passed, failed)
        _roll_back(client, show)
        pages = _save_pages(client, service, [passed, failed])
        show.step(8, "The reports with their plots: " + ", ".join(pages))
        rows = [
            row("VR-LwF", passed, hits[passed["version"]], "promoted"),
            row("Fine-tuning", failed, hits[failed["version"]], refusal),
        ]
        show.summary(rows)
    return {"seed": seed, "rows": rows}


def create_model(client: Client, show: Show) -> None:
    """Create the suites from the pack, the small model's policy and the model."""
    show.step(2, "Create the suites from the pack, and the model from the bundled small CLIP")
    suites = []
    suite_kinds: tuple[tuple[str, SuiteKind, list[PackImage]], ...] = (
        ("unseen-emoji", "zero_shot", pack_reader.named("twemoji")),
        ("unseen-emoji-captions", "retrieval", pack_reader.captioned("twemoji")),
        ("clip-art-captions", "retrieval", pack_reader.captioned("openclipart")),
    )
    for name, kind, images in suite_kinds:
        version = _upload(
            client, show, name, "labelled" if kind == "zero_shot" else "captioned", images
        )
        client.suites.create(
            name,
            kind=kind,
            dataset=name,
            dataset_version=version["number"],
            prompt=recipes.PROMPT,
        )
        suites.append(name)
    policy = client.policies.create(**recipes.POLICY)
    job = client.models.create(MODEL, base="bundled", suites=suites, policy=policy["name"])
    with show.progress("Import the bundled model") as on_poll:
        client.jobs.wait(job["id"], on_poll, every=POLL_S)
    alias = client.aliases.get(MODEL)
    show.note(f"demo@production is version {alias['version']}")


def _upload(
    client: Client, show: Show, name: str, kind: DatasetKind, images: Sequence[PackImage]
) -> DatasetVersion:
    client.datasets.create(name, kind=kind)
    pairs = ((image.text, image.file) for image in images)
    with show.counter(f"Upload {name}", len(images)) as on_batch:
        receipts = client.datasets.upload(name, pairs, on_batch)
    version = client.datasets.freeze(name)
    outcomes = ", ".join(sorted({receipt["outcome"] for receipt in receipts}))
    show.note(f"{name}: {version['images']:,} images ({outcomes}), frozen as version 1")
    return version


def upload_products(client: Client, show: Show) -> tuple[str, Mapping[str, list[PackImage]]]:
    """Upload ten new classes; return the dataset's name and images of each left out of it."""
    show.step(3, "Upload labelled images of ten new classes: Fashion-MNIST's products")
    train = pack_reader.by_class("fashion_mnist", "train")
    test = pack_reader.by_class("fashion_mnist", "test")
    pool = {name: train[name] + test[name] for name in train}
    images = [image for name in pool for image in pool[name][:UPLOADED_PER_CLASS]]
    version = _upload(client, show, "products", "labelled", images)
    sides = version["counts"].values()
    show.note(
        f"{sum(side['train'] for side in sides):,} images to train on, "
        f"{sum(side['holdout'] for side in sides):,} held out"
    )
    unseen = {
        name: rows[UPLOADED_PER_CLASS : UPLOADED_PER_CLASS + SHOWN_PER_CLASS]
        for name, rows in pool.items()
    }
    return "products", unseen


def update(client: Client, show: Show, step: int, title: str, dataset: str, recipe: Json) -> Report:
    """Update version 1, wait for the job and return its forgetting report."""
    show.step(step, f"{title}: teach the ten classes to version 1")
    job = client.jobs.order_update(
        model=MODEL,
        dataset=dataset,
        dataset_version=1,
        parent=1,
        recipe=recipes.COMMON | recipe,
    )
    with show.progress(title) as on_poll:
        result = client.jobs.wait(job["id"], on_poll, every=POLL_S)["result"]
    assert result is not None  # the job has succeeded
    report = client.versions.report(MODEL, result["version"])
    show.report(title, report)
    return report


def _promote_anyway(client: Client, show: Show, report: Report) -> str:
    seen = client.aliases.get(MODEL)["revision"]
    try:
        client.aliases.promote(
            MODEL, report["version"], reason="try it anyway", expected_revision=seen
        )
    except ServiceError as refusal:
        show.note(f"Promoting it anyway: {refusal}")
        show.refusal(refusal.facts["scores"])
        return f"{refusal.status} {refusal.code}"
    raise SystemExit("The gate promoted a version that had failed.")


def _classify(
    client: Client,
    show: Show,
    unseen: Mapping[str, list[PackImage]],
    *reports: Report,
) -> dict[int, float]:
    show.step(6, "Classify images that no version has seen, with version 1 and both updates")
    images = [image for rows in unseen.values() for image in rows]
    files = [image.file for image in images]
    hits: dict[int, float] = {}
    for number in (1, *(report["version"] for report in reports)):
        answers = client.classify(f"{MODEL}:{number}", files, sorted(unseen))["data"]
        right = sum(
            answer["predictions"][0]["class"] == image.text
            for answer, image in zip(answers, images, strict=True)
        )
        hits[number] = right / len(images)
        show.note(f"version {number}: {right} of {len(images)} correct")
    return hits


def _roll_back(client: Client, show: Show) -> None:
    show.step(7, "Roll production back")
    client.aliases.roll_back(MODEL, reason="show that one call undoes a promotion")
    show.history(client.aliases.history(MODEL))


def _save_pages(client: Client, service: Service, reports: Iterable[Report]) -> list[str]:
    pages = []
    for report in reports:
        number = report["version"]
        path = service.home / f"report-version-{number}.html"
        path.write_text(client.versions.report_page(MODEL, number))
        pages.append(str(path))
    return pages


def row(title: str, report: Report, hits: float, outcome: str) -> Json:
    """Return a row of the final table."""
    measures = report["measures"]
    gain = next(measure for measure in measures if measure["kind"] == "gain")
    judged = [measure for measure in measures if measure["outcome"] != "advisory"]
    kept = [measure for measure in judged if measure["baseline"] == "parent and root"]
    return {
        "method": title,
        "gain": gain["difference"],
        "changes": {_short(measure): measure["difference"] for measure in kept},
        "unseen_hits": hits,
        "verdict": report["verdict"],
        "outcome": outcome,
    }


def _short(measure: Measure) -> str:
    kinds = {
        "zero_shot": "emoji top-1",
        "image_to_text": "R@1 image>text",
        "text_to_image": "R@1 text>image",
    }
    return kinds[measure["kind"]]
