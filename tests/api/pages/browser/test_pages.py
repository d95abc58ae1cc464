"""The pages in a real browser, by keyboard: the whole way, live progress, and what axe finds."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from core.domain.jobs.event import EventKind
from core.domain.jobs.order import EvaluateOrder
from core.domain.trials.course import CoursePoint
from core.domain.trials.sample import Sample
from core.domain.values import PredictionId
from perennial import Client, ImageFile
from tests.api.pages.browser.conftest import LATE_MS, follow
from tests.support.api.image_files import picture
from tests.support.api.service import KEY
from tests.support.factories import NOW
from tests.support.scene import Scene

FIRST_VIEW = 150_000  # bytes, without images
PHONE = 390  # pixels wide
SCRIPT = '"><img src=x onerror=alert(1)>'
NOTE = {"note": SCRIPT}


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
        model = work.models.get("line")
    job = line.order(model, EvaluateOrder(version=2))
    page.goto(f"/ui/jobs/{job.id}")
    expect(page.get_by_text("Live")).to_be_visible()
    for step in (10, 20, 30):
        data = {"phase": "training", "step": step, "total": 40, "loss": 1 / step}
        with line.platform.transactions() as work:
            work.jobs.add_event(job.id, EventKind.PROGRESS, data, NOW)
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


def test_axe_finds_nothing_no_script_runs_and_every_page_fits_a_phone(
    page: Page, site: tuple[str, Scene]
) -> None:
    webhook = write_scripts(site[0])
    fill_trial(site[1])
    ran: list[str] = []
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    job = page.request.get("/ui/jobs?model=line").text().split('href="/ui/jobs/')[1].split('"')[0]
    here = "/ui/models/line"
    paths = [
        "/ui",
        "/ui/first-steps",
        here,
        f"{here}/versions/2",
        f"{here}/changes?now=2",
        f"{here}/changes/images?before=1&now=2",
        f"{here}/aliases/production/promotion?version=2",
        f"{here}/try",
        f"{here}/map?now=2",
        f"{here}/policy",
        f"{here}/policy/change",
        f"{here}/trial",
        "/ui/suites",
        "/ui/datasets",
        "/ui/datasets/scripts",
        "/ui/datasets/scripts/versions/1",
        "/ui/datasets/scripts/versions/1/images",
        "/ui/datasets/products",
        "/ui/datasets/products/statistics",
        "/ui/datasets/products/images?class=bag",
        "/ui/datasets/products/near-duplicates",
        "/ui/datasets/products/versions/1",
        "/ui/datasets/products/versions/1/images?class=bag",
        "/ui/datasets/products/versions/1/diff?against=1",
        "/ui/datasets/products/versions/1/update",
        "/ui/jobs",
        f"/ui/jobs/{job}",
        "/ui/audit",
        "/ui/keys",
        "/ui/keys/admin",
        "/ui/webhooks",
        f"/ui/webhooks/{webhook}",
        "/ui/sign-in",
        "/guide",
        "/guide/how-to/policy",
        "/guide/search?q=policy",
        "/ui/nowhere",
    ]
    axe, problems = Axe(), []
    for index, path in enumerate(paths):
        page.emulate_media(color_scheme="dark" if index % 2 else "light")
        page.set_viewport_size({"width": PHONE, "height": 800})
        page.goto(path)
        wide = page.evaluate("document.scrollingElement.scrollWidth")
        assert wide <= PHONE, path
        found = axe.run(page)
        problems += [f"{path}: {found.generate_report()}"] if found.violations_count else []
    assert (problems, ran) == ([], [])
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').concat("
        "performance.getEntriesByType('navigation')).map(e => e.decodedBodySize)"
    )
    assert sum(sizes) < FIRST_VIEW


def fill_trial(scene: Scene) -> None:
    """Give the trial of the model `line` a course and a sample."""
    with scene.platform.transactions() as work:
        (trial,) = work.trials.running()
        counts = dict.fromkeys(("disagreed", "labelled_current", "labelled_candidate"), 9)
        work.trials.count(trial.id, counts | {"right_candidate": 9, "gained": 9, "sampled": 1})
        point = CoursePoint(
            trial=trial.id, labels=2, estimate=1.0, lower=-0.9, upper=1.0, at=trial.started_at
        )
        work.trials.note_course([point])
        (row, *_) = work.datasets.image_page(work.datasets.get("scripts").id, 1, None)
        sample = Sample(
            trial=trial.id,
            pixels=row.image.pixels,
            artifact=row.image.artifact,
            prediction=PredictionId("pred_1"),
            answer=SCRIPT,
            shadow_answer="bag",
            at=trial.started_at,
        )
        work.samples.add(sample)
        work.commit()


def write_scripts(url: str) -> str:
    """Put a script into every text that a person may choose; return the id of the webhook."""
    with Client(url, KEY, trust_env=False) as client:
        client.datasets.create("scripts", kind="captioned", description=SCRIPT, metadata=NOTE)
        image = ImageFile(file_name=f"{SCRIPT}.png", data=picture(3))
        client.datasets.upload("scripts", [(SCRIPT, image)])
        client.datasets.freeze("scripts")
        client.policies.create("scripts", reason=SCRIPT)
        client.models.change("line", policy="scripts")
        live = client.aliases.get("line")
        client.aliases.promote(
            "line", 2, expected_revision=live["revision"], reason=SCRIPT, override=True
        )
        client.aliases.roll_back("line", reason=SCRIPT)
        client.trials.start("line", 2, mode="shadow", reason=SCRIPT)
        client.jobs.order_update(model="line", dataset="products", dataset_version=1, metadata=NOTE)
        hook = {"url": "https://93.184.216.34/", "events": ["job.failed"], "description": SCRIPT}
        return str(client.request("POST", "/v1/webhooks", json=hook).json()["id"])
