"""The first steps as somebody takes them with a mouse, who types nothing but two reasons."""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from core.first_steps import first_steps
from core.job_types.run import run_next_job
from tests.api.browser.conftest import opened
from tests.support.api.image_pack import make_pack
from tests.support.api.oracle import Oracle, an_oracle, settings_with
from tests.support.api.served import serving
from tests.support.scene import Script
from tests.support.tools import tools_of

NUMBERS = {"ten": 10, "eleven": 11, "twelve": 12}

NOTE_CLICKS = """
    addEventListener("click", ({ isTrusted }) => {
        if (isTrusted) sessionStorage.clicks = Number(sessionStorage.clicks ?? 0) + 1;
    }, true);
"""


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with an_oracle() as made:
        yield made


def test_the_clicks_of_the_first_steps_are_as_many_as_the_page_says(
    chromium: Browser,
    oracle: Oracle,
    migrated_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = Path(shutil.copytree(migrated_home, tmp_path / "home"))
    make_pack(tmp_path)
    monkeypatch.setattr(first_steps, "PACK", tmp_path)
    settings = settings_with(oracle, home)
    with serving(settings) as served, opened(chromium, served.url) as page:
        tools = tools_of(Script(served.platform), settings)
        with closing(tools.decoder):
            page.add_init_script(NOTE_CLICKS)
            page.goto("/ui/first-steps")
            said = re.search(r"(\w+) clicks", page.locator("main .lead").inner_text())
            assert said
            for button in ("Load the images", "Make the model", "Teach five classes"):
                page.get_by_role("button", name=button).click()
                expect(page.get_by_role("button", name=button)).to_be_hidden()
                while run_next_job(served.platform, tools, owner="w", stopping=lambda: False):
                    pass
            page.get_by_role("link", name="What changed").click()
            go_on(page, "Read what changed")
            page.get_by_role("link", name="Promote version 2").click()
            page.get_by_label("Reason").fill("better")
            override = page.get_by_role("checkbox")
            spared = override.count()  # the version of the demo passes, and takes none
            if spared:
                override.check()
            page.get_by_role("button", name="Promote version 2").click()
            go_on(page, "Classify an image")
            page.get_by_role("button", name="product 1").click()
            expect(page.get_by_text("This is: product 1.")).to_be_visible()
            page.get_by_role("link", name="Roll back").click()
            page.get_by_label("Reason").fill("once more")
            page.get_by_role("button", name="Roll back").click()
            expect(page.get_by_role("heading", name="demo")).to_be_visible()
            expect(page.get_by_text("First steps, ")).to_be_hidden()
            assert page.evaluate("Number(sessionStorage.clicks)") - spared == NUMBERS[said[1]]


def go_on(page: Page, step: str) -> None:
    """Go back to the first steps by the bar, which names the next one."""
    expect(page.get_by_role("form", name="First steps")).to_contain_text(step)
    page.get_by_role("link", name="Continue").click()
