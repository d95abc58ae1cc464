"""The pages in a real browser, by keyboard."""

from playwright.sync_api import Page, expect

from tests.api.browser.conftest import LATE_MS, follow
from tests.support.api.image_files import picture
from tests.support.scene import Scene

FIRST_VIEW = 150_000  # bytes, without images


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


def test_an_image_is_shown_before_it_is_sent_and_what_is_wrong_beside_it(page: Page) -> None:
    page.goto("/ui/models/line/try")
    image = {"name": "a.png", "mimeType": "image/png", "buffer": picture(1)}
    page.get_by_label("Image").set_input_files([image])  # type: ignore[list-item]
    expect(page.get_by_alt_text("The chosen image")).to_be_visible()
    assert page.evaluate("document.querySelector('.preview').naturalWidth") > 0
    follow(page, "Ask")
    expect(page.locator("#answers")).to_contain_text("inference_unavailable", timeout=LATE_MS)
    expect(page.get_by_alt_text("The chosen image")).to_be_visible()


def test_a_first_view_is_small(page: Page) -> None:
    page.goto("/ui/models/line")
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').concat("
        "performance.getEntriesByType('navigation')).map(e => e.decodedBodySize)"
    )
    assert 0 < sum(sizes) < FIRST_VIEW
