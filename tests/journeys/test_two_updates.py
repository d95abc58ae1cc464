"""Two updates by the default recipe: one ordered by the workflow, one as the demo does."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from demo.outcomes import EARLIER, NEW, accuracies, changes
from demo.preparation import MODEL
from demo.products import Products, read_products
from demo.show import Show
from demo.updates import update, upload_products
from devtools.servers.ports import free_port
from perennial import Client
from perennial.terminal.exit_codes import GATE
from perennial.types.reports import Report
from tests.support.processes import Site, wait_for
from tests.support.workflow import run_workflow

PER_CLASS = 60
KEY = "pk_only-this-journey-knows-of-it"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of an embedded service with the bundled model."""
    ports = {"port": free_port(), "inference_port": free_port()}
    site = Site(tmp_path, admin_key=SecretStr(KEY), **ports)
    service = site.start("cli", "serve")
    with Client(f"http://127.0.0.1:{ports['port']}", KEY, trust_env=False) as client:
        try:
            wait_for(lambda: service.poll() is not None or client.is_ready(), seconds=120)
            client.jobs.wait(client.models.create(MODEL)["id"])
            yield client
        finally:
            print(site.log)
            site.close()


def test_a_second_update_keeps_the_classes_of_the_first(client: Client, tmp_path: Path) -> None:
    first, second = map(few, read_products())
    one = taught_by_workflow(client, first, tmp_path)
    two = taught(client, second, parent=one["version"])

    assert (one["update_classes"], two["update_classes"]) == (
        sorted(first.classes),
        sorted(second.classes),
    )
    assert EARLIER not in changes(one)
    kept = changes(two)[EARLIER]
    assert (kept["kind"], kept["baseline"]) == ("holdout", f"version {one['version']}")
    found = {name: after for name, _, after in accuracies(two)}
    assert found[f"{EARLIER}, 5 to choose from"] == kept["right"] / kept["count"] > 0.6
    assert found[f"{EARLIER}, 10 to choose from"] > 0.5
    assert found[f"{NEW}, 10 to choose from"] > 0.5
    assert found["all 10 classes"] > 0.6


def few(products: Products) -> Products:
    """The same classes with fewer images."""
    rows = (
        [image for image in products.uploaded if image.text == name][:PER_CLASS]
        for name in products.classes
    )
    return replace(products, uploaded=tuple(image for images in rows for image in images))


def taught_by_workflow(client: Client, products: Products, folder: Path) -> Report:
    """The report of an update by the workflow, which no suite guards: the gate cannot pass it."""
    for number, image in enumerate(products.uploaded):
        place = folder / "new-images" / image.text
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.webp").write_bytes(image.data)
    url = str(client.request("GET", "/healthz").url.join("/"))
    steps = run_workflow(folder, PERENNIAL_URL=url, PERENNIAL_KEY=KEY)
    assert [step.code for step in steps] == [0, 0, GATE, 0], steps
    job = json.loads((folder / "job.json").read_text())
    return client.versions.report(MODEL, job["result"]["version"])


def taught(client: Client, products: Products, *, parent: int) -> Report:
    """The report of an update by the default recipe."""
    show = Show()
    upload_products(client, show, products)
    return update(client, show, products.dataset, products, {"seed": 0}, parent=parent)
