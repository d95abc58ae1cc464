"""The demo's story: two updates in a row by the default recipe, and fine-tuning for contrast."""

from collections.abc import Iterable

from demo import recipes
from demo.outcomes import CHANGES, accuracies, changes
from demo.preparation import MODEL, create_model
from demo.products import Products, read_products
from demo.service import Service
from demo.show import Json, Show
from demo.updates import update, upload_products
from perennial import Client, ServiceError
from perennial.types.evaluation.reports import Report

ROOT = 1  # the bundled model's version


def walk(service: Service, *, seed: int) -> Json:
    """Run all steps in order and return the final table as JSON."""
    show = Show()
    first, second = read_products()
    default = {"seed": seed}
    with service.client() as client:
        show.step(1, f"The service runs at {service.url}; its files are in {service.home}")
        show.step(2, "Create suites of an emoji style that the model has never seen, and the model")
        create_model(client, show)

        show.step(3, f"Update 1: teach five classes by the default recipe: {first}")
        upload_products(client, show, first)
        one = update(client, show, "Update 1", first, default)
        _require_live(client, show, one)

        show.step(4, f"Update 2: teach five more by the default recipe: {second}")
        upload_products(client, show, second)
        two = update(client, show, "Update 2", second, default)
        show.accuracies(two, accuracies(two))
        _require_live(client, show, two)

        show.step(5, f"For contrast, fine-tune version {one['version']} on the same five classes")
        tuning = recipes.FINE_TUNING | default
        tuned = update(client, show, "Fine-tuning", second, tuning, parent=one["version"])
        show.accuracies(tuned, accuracies(tuned))
        refusal = _promote_anyway(client, show, tuned)

        show.step(6, "Classify images that no version has seen; all ten classes compete")
        hits = {
            number: _classify(client, show, number, first, second)
            for number in (ROOT, one["version"], two["version"], tuned["version"])
        }
        show.step(7, "Roll production back")
        client.aliases.roll_back(MODEL, reason="show that one call undoes a promotion")
        show.history(client.aliases.history(MODEL))

        pages = _save_pages(client, service, (one, two, tuned))
        show.step(8, "The reports with their plots: " + ", ".join(pages))
        rows = [
            _row("update 1", one, hits[one["version"]], "promoted"),
            _row("update 2", two, hits[two["version"]], "promoted"),
            _row("fine-tuning", tuned, hits[tuned["version"]], refusal),
        ]
        show.summary(rows)
    return {"seed": seed, "rows": rows}


def _require_live(client: Client, show: Show, report: Report) -> None:
    live = client.aliases.get(MODEL)["version"]
    if live != report["version"]:
        raise SystemExit(
            f"The gate did not promote version {report['version']}, so the demo ends here: the "
            f"verdict is {report['verdict']}, for the reasons above."
        )
    show.note(f"demo@production is version {live}")


def _promote_anyway(client: Client, show: Show, report: Report) -> str:
    seen = client.aliases.get(MODEL)["revision"]
    try:
        client.aliases.promote(
            MODEL, report["version"], reason="try it anyway", expected_revision=seen
        )
    except ServiceError as refusal:
        show.note(f"Promoting it anyway: {refusal}")
        return f"{refusal.status} {refusal.code}"
    raise SystemExit(
        f"Version {report['version']} was promoted; fine-tuning should have failed the gate."
    )


def _classify(client: Client, show: Show, number: int, first: Products, second: Products) -> float:
    """Return the share of unseen images that a version classifies correctly."""
    images = first.unseen + second.unseen
    classes = first.classes + second.classes
    answers = client.classify(f"{MODEL}:{number}", [image.file for image in images], classes)
    right = [
        image
        for image, answer in zip(images, answers["data"], strict=True)
        if answer["predictions"][0]["class"] == image.text
    ]
    earlier, new = (
        f"{sum(image.text in products.classes for image in right)} of {len(products.unseen)}"
        for products in (first, second)
    )
    show.note(f"version {number}: {earlier} correct of update 1's classes, {new} of update 2's")
    return len(right) / len(images)


def _save_pages(client: Client, service: Service, reports: Iterable[Report]) -> list[str]:
    pages = []
    for report in reports:
        number = report["version"]
        path = service.home / f"report-version-{number}.html"
        path.write_text(client.versions.report_page(MODEL, number))
        pages.append(str(path))
    return pages


def _row(title: str, report: Report, hits: float, outcome: str) -> Json:
    """Return a row of the final table."""
    found = changes(report)
    return {
        "update": title,
        "changes": {name: found[name]["difference"] if name in found else None for name in CHANGES},
        "unseen_hits": hits,
        "verdict": report["verdict"],
        "outcome": outcome,
    }
