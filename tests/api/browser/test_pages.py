"""The pages in a real browser, by keyboard: the whole way, and live progress."""

from playwright.sync_api import Page, expect

from core.jobs.orders import EvaluateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind
from core.registry.rows import Models
from tests.api.browser.conftest import LATE_MS, follow
from tests.support.api.image_files import picture
from tests.support.factories import NOW
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


def test_an_admin_makes_and_revokes_a_key_by_keyboard(page: Page) -> None:
    follow(page, "Audit")
    expect(page.get_by_text("The chain holds.")).to_be_visible()
    follow(page, "Keys")
    page.get_by_role("textbox", name="Name", exact=True).fill("by-keyboard")
    page.get_by_label("Role").select_option("contributor")
    follow(page, "Create key")
    expect(page.get_by_role("heading", name="shown only now")).to_be_visible()
    expect(page.get_by_role("button", name="Copy")).to_be_visible()
    page.get_by_text("for ever…").focus()
    page.keyboard.press("Enter")
    follow(page, "Revoke permanently")
    expect(page.get_by_text("revoked").first).to_be_visible()


def test_a_running_job_is_followed_live_and_cancelled(page: Page, site: tuple[str, Scene]) -> None:
    line = site[1]
    with line.platform.transactions(read_only=True) as work:
        model = work[Models].get("line")
    job = line.order(model, EvaluateOrder(version=2))
    page.goto(f"/ui/jobs/{job.id}")
    expect(page.get_by_text("Live")).to_be_visible()
    for step in (10, 20, 30):
        data = {"phase": "training", "step": step, "total": 40, "loss": 1 / step}
        with line.platform.transactions() as work:
            work[Jobs].add_event(job.id, EventKind.PROGRESS, data, NOW)
            work.commit()
    expect(page.get_by_text("training, 30 of 40")).to_be_visible()
    expect(page.get_by_role("img", name="loss from step 10 to 30")).to_be_visible()
    follow(page, "Cancel")
    expect(page.get_by_text("cancelled").first).to_be_visible()
    expect(page.get_by_role("button", name="Order again")).to_be_visible()


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
