"""The pages in a real browser, by keyboard."""

from playwright.sync_api import Page, expect

from tests.api.browser.conftest import follow
from tests.support.scene import Scene


def test_a_person_reads_promotes_and_rolls_back_by_keyboard(
    page: Page, site: tuple[str, Scene]
) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    follow(page, "line")
    follow(page, "version 2,")
    expect(page.get_by_role("heading", name="Version 2").first).to_be_visible()
    follow(page, "What changed")
    expect(page.get_by_role("heading", name="What changed from version 1 to 2")).to_be_visible()
    page.locator("svg a:has(.confusion.more)").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="taken for")).to_be_visible()
    page.go_back()
    follow(page, "version 2")
    follow(page, "Promote")
    page.get_by_label("Reason").fill("the new classes matter more")
    page.get_by_label("Override the gate").check()
    follow(page, "Promote version 2")
    expect(page.get_by_text("production is now version 2")).to_be_visible()
    follow(page, "Roll back")
    page.get_by_label("Reason").fill("they do not")
    follow(page, "Roll back to version 1")
    expect(page.get_by_text("production is now version 1")).to_be_visible()
    follow(page, "Sign out")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/ui/models/line")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
