"""Chromium, and a service whose pages it shows."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.settings import ImportBucket
from devtools.programs import OPTIONS, find_chromium
from tests.support.api.browsing import make_line
from tests.support.api.served import serving
from tests.support.api.service import KEY, settings_of
from tests.support.scene import Scene

REFUSED = ("Failed to load resource", "Response Status Error Code")  # of the browser, of htmx

LATE_MS = 60_000  # the machine may be busy


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=LATE_MS)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=find_chromium(), args=list(OPTIONS))
        yield made
        made.close()


@pytest.fixture(scope="module")
def site(ready_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Scene]]:
    """The address of a service with the models `demo` and `line`."""
    home = tmp_path_factory.mktemp("browser") / "home"
    shutil.copytree(ready_home, home)
    buckets = (ImportBucket(name="photos"),)  # of a form, which no test sends
    with (
        serving(settings_of(home, import_buckets=buckets)) as served,
        pytest.MonkeyPatch.context() as patch,
    ):
        yield served.url, make_line(served.platform, patch)


@contextmanager
def opened(chromium: Browser, url: str, width: int = 1200) -> Iterator[Page]:
    """A page of a fresh browser that has signed in, and whose console stays empty."""
    context = chromium.new_context(
        base_url=url, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    context.set_default_timeout(LATE_MS)
    made, told = context.new_page(), []
    made.on("console", lambda line: told.append(line.text) if line.type == "error" else None)
    made.on("pageerror", lambda error: told.append(str(error)))
    made.goto("/")
    expect(made.get_by_label("API key")).to_be_focused(timeout=LATE_MS)
    made.keyboard.type(KEY)
    made.keyboard.press("Enter")
    expect(made.get_by_role("heading", name="Models")).to_be_visible(timeout=LATE_MS)
    yield made
    assert [line for line in told if not line.startswith(REFUSED)] == []
    context.close()


@pytest.fixture
def page(chromium: Browser, site: tuple[str, Scene]) -> Iterator[Page]:
    with opened(chromium, site[0]) as made:
        yield made


def follow(page: Page, name: str) -> None:
    """Go to a link or press a button by the keyboard alone."""
    found = page.get_by_role("link", name=name).or_(page.get_by_role("button", name=name)).first
    expect(found).to_be_visible()  # keys do not wait for what a script has yet to show
    found.focus()
    found.press("Enter")
