"""Uploading the classes of an update, and ordering it."""

from collections.abc import Mapping
from typing import Any

from demo.preparation import MODEL, POLL_S, upload
from demo.products import Products
from demo.show import Show
from perennial import Client
from perennial.types.evaluation.reports import Report


def upload_products(client: Client, show: Show, products: Products) -> None:
    """Upload the images of one update's classes and freeze them."""
    version = upload(client, show, products.dataset, "labelled", products.uploaded)
    sides = version["counts"].values()
    show.note(
        f"{sum(side['train'] for side in sides):,} images to train on, "
        f"{sum(side['holdout'] for side in sides):,} held out"
    )


def update(
    client: Client,
    show: Show,
    title: str,
    products: Products,
    recipe: Mapping[str, Any],
    *,
    parent: int | None = None,
) -> Report:
    """Teach classes to the live version, or to `parent`; return the forgetting report."""
    job = client.jobs.order_update(
        model=MODEL, dataset=products.dataset, dataset_version=1, parent=parent, recipe=recipe
    )
    with show.progress(title) as on_poll:
        result = client.jobs.wait(job["id"], on_poll, every=POLL_S)["result"]
    assert result is not None  # the job has succeeded
    report = client.versions.report(MODEL, result["version"])
    show.report(title, report)
    return report
