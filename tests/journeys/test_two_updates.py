"""Two updates by the default recipe: one ordered by the workflow, one as the demo does.

The same service is then taught images with wrong classes, and blames the upload that brought them;
and a person with no more than the link that it printed goes the whole way in a browser.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from pydantic import SecretStr

from demo.images import Products, by_class, read_products
from demo.show import Show
from demo.walkthrough import EARLIER, MODEL, NEW, accuracies, changes, update, upload_products
from devtools.ports import free_port
from devtools.programs import OPTIONS, find_chromium
from perennial.client import Client
from perennial.terminal.session import GATE
from perennial.types import Report
from tests.api.browser.conftest import LATE_MS, follow
from tests.support.deployment.workflow import run_workflow
from tests.support.processes import Site, wait_for

PER_CLASS = 60

KEY = "pk_only-this-journey-knows-of-it"

LINK = re.compile(r"http://\S+/ui/sign-in\?link=\S+")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An embedded service."""
    ports = {"port": free_port(), "inference_port": free_port()}
    site = Site(tmp_path_factory.mktemp("home"), admin_key=SecretStr(KEY), **ports)
    site.start("cli", "serve")
    try:
        wait_for(lambda: LINK.search(site.log), seconds=120)
        yield site
    finally:
        print(site.log)
        site.close()


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[Client]:
    """A client of the service, which has the bundled model."""
    with Client(f"http://127.0.0.1:{site.settings.port}", KEY, trust_env=False) as client:
        client.jobs.wait(client.models.create(MODEL)["id"])
        yield client


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


def test_a_person_goes_the_whole_way_in_a_browser_by_keyboard(
    site: Site, client: Client, page: Page, tmp_path: Path
) -> None:
    images = by_class("fashion_mnist", "train")
    for name in sorted(images)[-3:]:
        folder = tmp_path / "shelf" / name.replace("/", "-")
        folder.mkdir(parents=True)
        for number, image in enumerate(images[name][-24:]):
            (folder / f"{number}.webp").write_bytes(image.data)
    link = LINK.search(site.log)
    assert link
    page.goto(link[0])
    follow(page, "Sign in as admin")
    expect(page.get_by_role("heading", name="First steps")).to_be_visible()

    # Teach classes.
    follow(page, "Datasets")
    page.get_by_label("Name").fill("shelf")
    page.keyboard.press("Enter")
    field = page.get_by_label("Folder")
    expect(field).to_be_visible()  # the script is ready
    field.focus()
    with page.expect_file_chooser() as chooser:
        field.press("Enter")
    chooser.value.set_files(tmp_path / "shelf")
    expect(page.get_by_role("button", name="Upload")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Done: 72 added")).to_be_visible()
    follow(page, "Freeze a version")
    follow(page, "Order an update")
    page.get_by_label("Model").fill(MODEL)
    page.get_by_label("Recipe").select_option("ft")
    page.get_by_label("Make the new version live").uncheck()
    follow(page, "Ask for advice")
    expect(page.get_by_text("Nothing is ordered yet.")).to_be_visible()
    follow(page, "Order the update")

    # Watch, and read what changed.
    expect(page.locator("#connection")).to_contain_text("Live")
    expect(page.locator("#connection")).to_contain_text("The job has ended.")
    page.locator(".result a").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile(r"^Version \d+$")).first).to_be_visible()
    number = page.url.rpartition("/")[2]
    follow(page, "What changed")
    expect(
        page.get_by_role("heading", name=re.compile(f"What changed .* {number}"))
    ).to_be_visible()
    expect(page.locator(".gallery img").first).to_be_visible()

    # Promote it, classify an image, roll back.
    follow(page, f"version {number}")
    follow(page, "Promote")
    page.get_by_label("Reason").fill("it knows what is on the shelf")
    page.get_by_label("Override the gate").check()
    follow(page, f"Promote version {number}")
    expect(page.get_by_text(f"production is now version {number}")).to_be_visible()
    follow(page, "Try it")
    page.get_by_label("Image").set_input_files([next(tmp_path.rglob("1.webp"))])
    follow(page, "Ask")
    expect(page.locator("#answers meter").first).to_be_visible()
    follow(page, MODEL)
    follow(page, "Roll back")
    page.get_by_label("Reason").fill("to show that one call undoes it")
    follow(page, "Roll back to version")
    expect(page.get_by_text("production is now version")).to_be_visible()
    kinds = [move["kind"] for move in client.aliases.history(MODEL)]
    assert kinds[-2:] == ["promoted", "rolled_back"]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a fresh browser."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(OPTIONS))
        page = chromium.new_page()
        page.set_default_timeout(LATE_MS)
        expect.set_options(timeout=LATE_MS)
        yield page
        chromium.close()
