"""Two updates by the default recipe: one ordered by the workflow, one as the demo does.

The same service is then taught images with wrong classes, and blames the upload that brought them.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from demo.outcomes import EARLIER, NEW, accuracies, changes
from demo.pack_reader import by_class
from demo.preparation import MODEL
from demo.products import Products, read_products
from demo.show import Show
from demo.updates import update, upload_products
from devtools.servers.ports import free_port
from perennial import Client
from perennial.terminal.exit_codes import GATE
from perennial.types.evaluation.reports import Report
from tests.support.processes import Site, wait_for
from tests.support.workflow import run_workflow

PER_CLASS = 60
KEY = "pk_only-this-journey-knows-of-it"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an embedded service with the bundled model."""
    ports = {"port": free_port(), "inference_port": free_port()}
    site = Site(tmp_path_factory.mktemp("home"), admin_key=SecretStr(KEY), **ports)
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
    """The report of an update by the default recipe, half as long."""
    show = Show()
    upload_products(client, show, products)
    recipe = {"seed": 0, "epochs": 3}
    return update(client, show, products.dataset, products, recipe, parent=parent)


def test_the_upload_that_brought_wrong_classes_is_to_blame(client: Client) -> None:
    images = by_class("fashion_mnist", "train")
    boot, bag, coat = names = sorted(images)[:3]
    wrong = {boot: bag, bag: boot}
    client.datasets.create("asked")
    client.datasets.upload("asked", [(n, i.file) for n in names for i in images[n][-30:]])
    client.datasets.freeze("asked")
    client.suites.create("asked", kind="zero_shot", dataset="asked", dataset_version=1)
    client.jobs.wait(client.models.create("blamed", suites=["asked"])["id"])
    client.datasets.create("mixed")
    for start in (100, 112):
        right = [(n, i.file) for n in names for i in images[n][start : start + 12]]
        client.datasets.upload("mixed", right)
    client.datasets.upload("mixed", [(wrong[n], i.file) for n in wrong for i in images[n][124:144]])
    client.datasets.freeze("mixed")
    few = {"method": "ft", "epochs": 2, "batch_size": 16, "learning_rate": 1e-4, "seed": 1}
    client.jobs.wait(
        client.jobs.order_update(model="blamed", dataset="mixed", dataset_version=1, recipe=few)[
            "id"
        ]
    )
    job = client.jobs.order_blame(model="blamed", version=2, class_name=boot, suite="asked")
    client.jobs.wait(job["id"])
    report = client.jobs.blame(job["id"])
    assert [set(group["classes"]) for group in report["groups"]] == [{*names}] * 2 + [{boot, bag}]
    (blamed,) = report["classes"]
    worst = blamed["groups"][0]
    assert (worst["group"], worst["clear"], report["exact"]) == (3, True, True)
    assert worst["difference"] > 0.3
    assert blamed["summary"].startswith("Look at group 3 first: ")
    assert coat not in report["groups"][2]["classes"]
    assert [version["version"] for version in client.versions.list("blamed")] == [1, 2]
