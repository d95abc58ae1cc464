"""A look at pages: findings of axe in light and in dark, and pages that do not fit a phone."""

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

PHONE = 390  # pixels wide
AXE = Axe().axe_script  # of which each page that is looked at needs a copy
RUN = "axe.run({}, {}).then(({{violations}}) => ({{violations}}))"
MAIN, RULES = "document.querySelector('main')", "{resultTypes: ['violations']}"
# In dark only colours differ, and those of the bars around `main` are the same on all pages.
IN_DARK = RUN.format(MAIN, "{resultTypes: ['violations'], runOnly: ['color-contrast']}")


@dataclass
class Seen:
    """The findings on the pages that a browser has been on."""

    problems: list[str] = field(default_factory=list)  # that axe finds
    wide: list[str] = field(default_factory=list)  # pages that do not fit a phone
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
        if page.evaluate("document.scrollingElement.scrollWidth") > PHONE:
            self.wide.append(at)

    def _note(self, at: str, page: Page, run: str) -> None:
        found = AxeResults(page.evaluate(run))
        if found.violations_count:
            self.problems.append(f"{at}: {found.generate_report()}")
