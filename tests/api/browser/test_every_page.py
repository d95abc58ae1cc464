"""Every page on a phone as axe sees it, in light and in dark, with things on it and without."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from fastapi.routing import APIRoute
from playwright.sync_api import Browser, Page, expect
from starlette.routing import Match

from api.every_page import PAGES
from api.guide import pages as guide
from api.http.routing import STATIC
from perennial.requests import ImageFile
from tests.api.browser.conftest import opened
from tests.support.api.every_page import LINE, empty_pages, full_pages, lists_without_rows
from tests.support.api.image_files import picture
from tests.support.api.served import serving
from tests.support.api.service import settings_of
from tests.support.scene import Scene

PHONE, LAPTOP = 390, 1280  # pixels wide
AXE = Axe().axe_script  # of which each page that is looked at needs a copy
RUN = "axe.run({}, {}).then(({{violations}}) => ({{violations}}))"
MAIN, RULES = "document.querySelector('main')", "{resultTypes: ['violations']}"
UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
DOTS = """[...document.querySelectorAll("svg .whisker ~ circle")].map((dot) => {
    const { left, right } = dot.getBoundingClientRect();
    return [left, right];
})"""
CUT = """[...document.querySelectorAll(".wide:has(> table)")]
    .filter((one) => one.scrollWidth > one.clientWidth)
    .map((one) => one.getAttribute("aria-label"))"""
# In dark only colours differ, and those of the bars around `main` are the same on all pages.
IN_DARK = RUN.format(MAIN, "{resultTypes: ['violations'], runOnly: ['color-contrast']}")


@dataclass
class Seen:
    """The findings on the pages that a browser has been on."""

    problems: list[str] = field(default_factory=list)  # that axe finds
    wide: list[str] = field(default_factory=list)  # pages that do not fit a phone
    hidden: list[str] = field(default_factory=list)  # dots of intervals outside a phone's screen
    cut: list[str] = field(default_factory=list)  # tables that do not fit a laptop
    ran: list[str] = field(default_factory=list)  # scripts in names
    paths: set[str] = field(default_factory=set)
    bars_in_dark: bool = False  # whether they were looked at

    def look(self, page: Page, at: str) -> None:
        self.paths.add(urlsplit(page.url).path)
        page.emulate_media(color_scheme="light")
        self._measure(page, at)
        self._note(f"{at} in light", page, RUN.format("document", RULES))
        page.emulate_media(color_scheme="dark")
        if not self.bars_in_dark:
            self._note(f"{at} in dark", page, RUN.format("document", RULES))
            self.bars_in_dark = True
        self._note(f"{at} in dark", page, IN_DARK)

    def go(self, page: Page, path: str) -> None:
        page.goto(path)
        self.look(page, path)

    def glance(self, page: Page, path: str) -> None:
        """Look at what a page has in place of rows, in light or in dark by turns."""
        scheme: Literal["light", "dark"] = "dark" if len(self.paths) % 2 else "light"
        page.emulate_media(color_scheme=scheme)
        page.goto(path)
        self.paths.add(urlsplit(page.url).path)
        self._measure(page, path)
        self._note(f"{path} in {scheme}", page, RUN.format(MAIN, RULES))

    def _measure(self, page: Page, at: str) -> None:
        page.evaluate(UNFOLD)
        if page.evaluate("document.scrollingElement.scrollWidth") > PHONE:
            self.wide.append(at)
        places = page.evaluate(DOTS)
        self.hidden += [f"{at}: {place}" for place in places if place[0] < 0 or place[1] > PHONE]
        page.set_viewport_size({"width": LAPTOP, "height": 800})
        self.cut += [f"{at}: {name}" for name in page.evaluate(CUT)]
        page.set_viewport_size({"width": PHONE, "height": 800})

    def _note(self, at: str, page: Page, run: str) -> None:
        found = AxeResults(page.evaluate(run))
        if found.violations_count:
            self.problems.append(f"{at}: {found.generate_report()}")


SAMPLES = "/ui/models/{model}/aliases/{alias}/trials/{trial}/samples"

NO_PAGES = {  # of the routes that answer to GET: files, redirections, parts of pages
    "/",
    f"{STATIC}{{name}}",
    "/ui/images/{pixels}",
    "/ui/images/{pixels}/thumbnail",
    "/ui/first-steps/samples/{index}",
    "/ui/suites/{suite}/images/{pixels}",
    f"{SAMPLES}/{{pixels}}",
    f"{SAMPLES}/{{pixels}}/thumbnail",
    "/ui/models/{model}/versions/{version}/download",
    "/ui/models/{model}/versions/{version}/evidence",
    "/ui/models/{model}/versions/{version}/exports/{export_format}/download",
    "/ui/jobs/{job}/panel",
    "/ui/jobs/{job}/events",
}

ROUTES = [route for router in PAGES for route in router.routes if isinstance(route, APIRoute)]


@pytest.fixture(scope="module")
def seen(
    chromium: Browser,
    site: tuple[str, Scene],
    migrated_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Seen:
    """The findings of a browser that goes to every page."""
    found = Seen()
    with ExitStack() as stack:
        home = tmp_path_factory.mktemp("unused") / "home"
        shutil.copytree(migrated_home, home)
        unused = stack.enter_context(serving(settings_of(home)))
        page = stack.enter_context(opened(chromium, unused.url, width=PHONE))
        page.add_init_script(AXE)
        for path in lists_without_rows():
            found.glance(page, path)
        unused.client.datasets.create("alone")
        unused.client.datasets.upload(
            "alone", [("cup", ImageFile(file_name="a.png", data=picture(5)))]
        )
        unused.client.datasets.freeze("alone")
        found.glance(page, "/ui/datasets/alone/versions/1/update")

        page = stack.enter_context(opened(chromium, site[0], width=PHONE))
        page.add_init_script(AXE)
        page.on("dialog", lambda dialog: (found.ran.append(dialog.message), dialog.dismiss()))
        for path in full_pages(*site):
            found.go(page, path)
        for path in empty_pages(site[0], site[1].platform):
            found.glance(page, path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guide, "pages", dict)
            found.go(page, "/guide/without-documentation")
    return found


def route_of(path: str) -> str | None:
    scope = {"type": "http", "method": "GET", "path": path}
    return next((r.path for r in ROUTES if r.matches(scope)[0] is Match.FULL), None)


def test_axe_finds_nothing(seen: Seen) -> None:
    assert seen.problems == []


def test_every_page_fits_a_phone(seen: Seen) -> None:
    assert seen.wide == []


def test_the_dots_of_intervals_are_on_a_phones_screen(seen: Seen) -> None:
    assert f"{LINE}/versions/2/report" in seen.paths
    assert seen.hidden == []


def test_no_table_is_cut_on_a_laptop(seen: Seen) -> None:
    assert seen.cut == []


def test_no_script_in_a_name_runs(seen: Seen) -> None:
    assert seen.ran == []


def test_every_route_of_a_page_is_among_them(seen: Seen) -> None:
    routes = {route.path for route in ROUTES if "GET" in route.methods}
    assert routes >= NO_PAGES
    assert routes - NO_PAGES == {route_of(path) for path in seen.paths} - {None}


# Rules that only Redoc could keep: it has no landmarks, a button without a name, and no title of
# the whole above an operation that a link leads to.
OF_REDOC = ("region", "heading-order", "page-has-heading-one", "button-name")
BUT_THOSE = {"rules": {rule: {"enabled": False} for rule in OF_REDOC}}
CONTRAST = {"runOnly": ["color-contrast"]}


def test_a_reader_finds_how_to_promote_in_the_reference(
    chromium: Browser, site: tuple[str, Scene]
) -> None:
    page = chromium.new_page(viewport={"width": PHONE, "height": 800}, color_scheme="light")
    came, told = list[str](), list[str]()
    page.on("response", lambda response: came.append(response.url))
    page.on("console", lambda line: told.append(line.text) if line.type == "error" else None)
    page.goto(f"{site[0]}/docs")
    expect(page.get_by_role("heading", name="Perennial (")).to_be_visible()
    expect(page.get_by_text("Loading...")).to_have_count(0)  # the search is ready
    page.keyboard.press("Control+K")
    page.get_by_placeholder("Search docs...").fill("promote")
    page.get_by_test_id("search-dialog").get_by_text("point an alias at it").click()
    for width, rules in ((PHONE, BUT_THOSE), (1280, CONTRAST)):
        if width > PHONE:
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme="dark")
            page.mouse.move(0, 0)  # Redoc's rows have too little contrast below the pointer
            page.reload()  # as by a link to the operation
            expect(page.get_by_text("Loading...")).to_have_count(0)  # nothing moves while axe reads
        expect(page.get_by_role("heading", name="Promote a version")).to_be_in_viewport()
        expect(page.get_by_text("Role: operator.").first).to_be_visible()
        assert page.url == f"{site[0]}/docs#/aliases/move_alias"
        wide, tall = page.evaluate("[document.body.scrollWidth, document.body.scrollHeight]")
        assert wide == width
        assert tall < 20_000
        found = Axe().run(page, options=rules)
        assert not found.violations_count, found.generate_report()
    assert all(url.startswith(site[0]) for url in came)
    assert told == []
    page.close()
