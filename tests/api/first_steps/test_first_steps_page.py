"""The page of first steps: each step is ordered once, and done as the rows tell."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.authentication import SESSION_COOKIE
from api.http.routing import FIRST_STEPS
from core.first_steps import first_steps as pack
from core.job_types.run import run_next_job
from core.jobs.queue import JobRequest
from core.jobs.rows import Jobs
from core.principal import Principal, Role
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.training.order import order_update
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.image_pack import make_pack
from tests.support.api.oracle import Oracle, settings_with
from tests.support.api.service import Service, running
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Script
from tests.support.tools import tools_of

STEP = re.compile(r'<li class="step (\w+)" id="(\w+)">')

BAR = "First steps, "

ADMIN = Principal(name="admin", role=Role.ADMIN)

HERE = "/ui/models/demo/aliases/production"


@pytest.fixture(scope="module")
def new(
    migrated_home: Path, tmp_path_factory: pytest.TempPathFactory, oracle: Oracle
) -> Iterator[Service]:
    """A service that nobody has used, with a small pack."""
    folder = tmp_path_factory.mktemp("first-steps")
    home = Path(shutil.copytree(migrated_home, folder / "home"))
    make_pack(folder)
    with running(settings_with(oracle, home)) as service, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "PACK", folder)
        service.client.headers.pop("Authorization")
        yield service


def steps(browser: Browser) -> dict[str, str]:
    return {name: state for state, name in STEP.findall(browser.get(FIRST_STEPS).text)}


def done(browser: Browser) -> list[str]:
    return [name for name, state in steps(browser).items() if state == "done"]


def following(browser: Browser) -> list[str]:
    return [name for name, state in steps(browser).items() if state == "now"]


def test_the_steps_lead_to_a_promotion_and_back(new: Service) -> None:
    admin = browser_of(new, Role.ADMIN)
    assert 'href="/ui/first-steps"' in admin.get("/ui").text
    assert (done(admin), following(admin)) == (["sign_in"], ["images"])
    meanwhile: list[list[str]] = []
    looking = lambda _: meanwhile.append(following(admin))  # noqa: E731
    tools = tools_of(Script(new.platform, evaluating=looking), new.settings)

    def work() -> None:
        assert run_next_job(new.platform, tools, owner="w", stopping=lambda: False)

    assert BAR not in admin.get("/ui").text  # nobody has begun
    pressed(admin, "images")
    pressed(admin, "images")  # a second press orders nothing
    assert ">waiting for the worker</a>" in admin.get(FIRST_STEPS).text
    work()
    assert following(admin) == ["images"]
    work()
    assert following(admin) == ["model"]
    assert 'href="/ui/datasets/products"' in admin.get(FIRST_STEPS).text
    pressed(admin, "teach")  # before its turn, it orders nothing
    pressed(admin, "model")
    assert following(admin) == ["model"]
    work()
    assert following(admin) == ["teach"]
    pressed(admin, "teach")
    work()
    assert meanwhile == [["teach"]] * len(meanwhile)  # there is a version, not yet judged
    assert meanwhile
    assert admin.get(FIRST_STEPS, HX_Request="true").headers["hx-refresh"] == "true"
    assert following(admin) == ["read", "promote"]
    with new.platform.transactions(read_only=True) as work_:
        first = work_[Models].get("demo")
        order = work_[Jobs].page(1, None, model=first.id)[0].order
    notifier = SilentNotifier()
    order_update(new.platform, notifier, JobRequest(principal=ADMIN), model="demo", order=order)
    assert following(admin) == ["read", "promote"]  # somebody else's update is none of the steps
    work()
    tools.decoder.close()
    other = {"version": 3, "revision": 1, "reason": "another", "override": "yes"}
    assert admin.send(f"{HERE}/promotion", **other).status_code == 303
    assert following(admin) == ["read", "promote"]
    assert (
        "First steps, 5 of 8: <b>Read what changed, then promote it</b>"
        in admin.get("/ui/models/demo").text
    )
    assert BAR not in admin.get(FIRST_STEPS).text
    hidden = admin.send(f"{FIRST_STEPS}/dismissal").headers["set-cookie"].partition(";")[0]
    cookies = f"{hidden}; {SESSION_COOKIE}={admin.session}"
    assert BAR not in admin.client.get("/ui", headers={"Cookie": cookies}).text
    assert BAR not in browser_of(new, Role.VIEWER).get("/ui").text
    assert "/ui/models/demo/changes?now=2" in admin.get(FIRST_STEPS).text
    form = {"version": 2, "revision": 2, "reason": "looks good", "override": "yes"}
    assert admin.send(f"{HERE}/promotion", **form).status_code == 303
    assert following(admin) == ["classify", "roll_back"]
    said = admin.send(f"{FIRST_STEPS}/classify", sample="1").text
    assert "This is: <b>product 1</b>" in said
    assert BAR not in said  # it is their page too
    back = {"version": 3, "revision": 3, "reason": "once more"}
    assert admin.send(f"{HERE}/rollback", **back).status_code == 303
    assert following(admin) == []
    assert len(done(admin)) == 8
    assert "first-steps" not in admin.get("/ui").text  # nor a bar
    assert 'href="/ui/first-steps#then">What now' in admin.get("/ui/models/demo").text
    assert 'id="then"' in admin.get(FIRST_STEPS).text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "read_progress", None)  # which pages do not read any more
        assert admin.get("/ui").status_code == 200
    with new.platform.transactions(read_only=True) as work_:
        kinds = [named.job.type.value for named in work_[Jobs].named_page(10, None)]
        trained = work_[Versions].get(work_[Models].get("demo").id, 2).update_classes
    assert kinds == ["update", "update", "import", "import_images", "import_images"]
    assert trained == tuple(f"product {index}" for index in range(5))


def pressed(browser: Browser, step: str) -> None:
    answer = browser.send(f"{FIRST_STEPS}/{step}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{FIRST_STEPS}#{step}")


def test_a_viewer_is_told_which_role_it_takes_and_without_a_pack_the_commands(
    viewer: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert following(viewer) == ["images"]  # also if somebody has made a model
    text = viewer.get(FIRST_STEPS).text
    assert "This needs a key with the role contributor; yours is viewer." in text
    assert '<form method="post" action="/ui/first-steps' not in text
    monkeypatch.setattr(pack, "PACK", tmp_path)
    text = viewer.get(FIRST_STEPS).text
    assert "no image pack" in text
    assert "perennial teach FOLDER --model demo --wait" in text
    assert viewer.get(f"{FIRST_STEPS}/samples/0").status_code == 404
