"""A person teaches classes from a real browser, by keyboard, even if the connection is lost."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from api.datasets import upload_pages as uploads
from core.datasets.manifests import Side
from core.datasets.receive import record_uploads
from core.datasets.rows import Datasets
from core.errors import DatabaseUnavailable
from tests.api.browser.conftest import follow
from tests.support.api.image_files import photograph, picture, pictures_on
from tests.support.scene import Scene

FILES = 110  # a folder is read by hundreds, and sent by forties

SCRIPT = "<img src=x onerror=alert(1)>"


def make(page: Page, name: str) -> None:
    follow(page, "Datasets")
    expect(page.get_by_role("heading", name="New dataset")).to_be_visible()
    page.get_by_label("Name").focus()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def choose(page: Page, folder: Path) -> None:
    field = page.get_by_label("Folder")
    expect(field).to_be_visible()  # the script is ready; keys do not wait for a hidden field
    field.focus()
    with page.expect_file_chooser() as chooser:
        field.press("Enter")
    chooser.value.set_files(folder)
    expect(page.get_by_role("button", name="Upload")).to_be_focused()


def drop(page: Page, folder: Path) -> None:
    expect(page.get_by_label("Folder")).to_be_visible()  # the script is ready
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 300, "y": 300, "data": data}
        devtools.send("Input.dispatchDragEvent", event)
    expect(page.get_by_role("button", name="Upload")).to_be_focused()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_a_person_teaches_classes_from_a_folder(
    page: Page, site: tuple[str, Scene], tmp_path: Path
) -> None:
    boots = {f"boot/{n}.png": data for n, data in enumerate(pictures_on(Side.TRAIN, 3))}
    scripts = {f"{SCRIPT}/{SCRIPT}{n}.png": picture(500 + n) for n in range(12)}
    alike = {f"boot/{q}.jpg": photograph(77, quality=q) for q in (95, 80)}
    others = {"boot/notes.txt": b"no image", "boot/.hidden": b"", "boot/Thumbs.db": b""}
    folder = write(tmp_path / "shoes", {**boots, **scripts, **alike, **others})
    make(page, "from-a-folder")
    choose(page, folder)
    expect(page.get_by_text("18 files of 2 classes")).to_contain_text(f"{SCRIPT} (12)")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Done: 17 added, 0 here already, 1 refused.")).to_be_visible()
    expect(page.get_by_role("group", name="Refused files")).to_contain_text("shoes/boot/notes.txt")
    assert Axe().run(page).violations_count == 0
    expect(page.get_by_role("link", name="1 group of images")).to_be_visible()
    expect(page).to_have_title("from-a-folder · Perennial")  # not that of a part of it
    follow(page, "1 group of images")
    expect(page.get_by_role("heading", name="2 images")).to_be_visible()
    assert page.locator("main img").count() == 2
    follow(page, "from-a-folder")
    follow(page, SCRIPT)
    expect(page.get_by_role("heading", name=SCRIPT)).to_be_visible()
    page.get_by_label("New name").fill(f"{SCRIPT}, renamed")
    follow(page, "Rename")
    expect(page.get_by_text("is now")).to_be_visible()
    page.locator(".gallery img").first.click()
    expect(page.get_by_text("1 chosen")).to_be_visible()
    expect(page.get_by_role("button", name="Move", exact=True)).to_be_in_viewport()
    page.get_by_text("Choose all").click()
    expect(page.get_by_text("12 chosen")).to_be_visible()
    page.get_by_label("Move the chosen to").select_option("boot")
    follow(page, "Move")
    expect(page.get_by_text("12 images were moved.")).to_be_visible()
    follow(page, "Undo")
    expect(page.get_by_text("12 images were moved back.")).to_be_visible()
    page.reload()  # which sends nothing again
    assert page.locator(".gallery img").count() == 12
    follow(page, "from-a-folder")
    follow(page, "Freeze a version")
    follow(page, "Order an update")
    expect(page.get_by_label("Model", exact=True)).to_have_value("demo")
    follow(page, "Ask for advice")
    expect(page.get_by_text("have fewer than 16 training images")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    follow(page, "Order the update")
    expect(page.get_by_role("heading", name="Update of demo")).to_be_visible()
    follow(page, "Cancel")


def test_a_lost_connection_loses_and_doubles_nothing(
    page: Page, site: tuple[str, Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, record, tries = site[1].platform, record_uploads, []
    folder = write(tmp_path / "many", {f"cup/{n}.png": picture(700 + n) for n in range(FILES)})

    def recorded_but_not_answered(*given: object) -> object:
        receipts = record(*given)  # type: ignore[arg-type]
        if len(tries) == 1:
            raise DatabaseUnavailable
        return receipts

    def lost_once(route: Route) -> None:
        tries.append(route.request.headers["idempotency-key"])
        route.abort("connectionreset") if len(tries) == 3 else route.continue_()

    monkeypatch.setattr(uploads, "record_uploads", recorded_but_not_answered)
    page.route("**/images", lost_once)
    make(page, "many-cups")
    drop(page, folder)
    expect(page.get_by_role("button", name="Resume")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.get_by_text("The connection is lost; trying again")).to_be_visible()
    expect(page.get_by_text(f"40 of {FILES} files")).to_be_visible()
    follow(page, "Resume")
    expect(page.get_by_text(f"Done: {FILES} added, 0 here already, 0 refused.")).to_be_visible()
    first, again, second, after, third = tries
    assert (first, second) == (again, after)
    assert len({first, second, third}) == 3
    with platform.transactions(read_only=True) as work:
        dataset = work[Datasets].get("many-cups")
        assert work[Datasets].count(dataset.id) == {"cup": FILES}
    assert dataset.duplicates == 0
