"""The page of first steps: each step is ordered once, and done as the rows tell."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.routing import FIRST_STEPS
from core.first_steps import first_steps as pack
from core.first_steps.first_steps import EMOJI_FOLDER, PRODUCTS_FOLDER
from core.job_types.run import run_next_job
from core.jobs.rows import Jobs
from core.principal import Role
from core.registry.rows import Models, Versions
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.image_files import picture
from tests.support.api.oracle import Oracle, settings_with
from tests.support.api.service import Service, running
from tests.support.scene import Script
from tests.support.tools import tools_of

EACH = 6  # images of a class


def make_pack(folder: Path) -> None:
    """Write a pack: twelve emoji, and six products with an unseen image each."""
    emoji = [(f"emoji {number}", "heldout_style", number) for number in range(12)]
    products = [
        (f"product {index}", split, 100 + index * (EACH + 1) + number)
        for index in range(6)
        for number, split in enumerate(["train"] * EACH + ["test"])
    ]
    for name, rows in ((EMOJI_FOLDER, emoji), (PRODUCTS_FOLDER, products)):
        lines = []
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as pack:
            for cls, split, seed in rows:
                path = f"{split}/{seed}.png"
                pack.writestr(path, picture(seed))
                lines.append(json.dumps({"path": path, "cls": cls, "split": split}))
            pack.writestr("captions.jsonl", "\n".join(lines))


STEP = re.compile(r'<li class="step (\w+)" id="(\w+)">')

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

    pressed(admin, "images")
    pressed(admin, "images")  # a second press orders nothing
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
    tools.decoder.close()
    assert meanwhile == [["teach"]] * len(meanwhile)  # there is a version, not yet judged
    assert meanwhile
    assert admin.get(FIRST_STEPS, HX_Request="true").headers["hx-refresh"] == "true"
    assert following(admin) == ["read", "promote"]
    assert "/ui/models/demo/changes?now=2" in admin.get(FIRST_STEPS).text
    form = {"version": 2, "revision": 1, "reason": "looks good", "override": "yes"}
    assert admin.send(f"{HERE}/promotion", **form).status_code == 303
    assert following(admin) == ["classify", "roll_back"]
    said = admin.send(f"{FIRST_STEPS}/classify", sample="1").text
    assert "This is: <b>product 1</b>" in said
    back = {"version": 1, "revision": 2, "reason": "once more"}
    assert admin.send(f"{HERE}/rollback", **back).status_code == 303
    assert following(admin) == []
    assert len(done(admin)) == 8
    assert "first-steps" not in admin.get("/ui").text
    with new.platform.transactions(read_only=True) as work_:
        kinds = [named.job.type.value for named in work_[Jobs].named_page(10, None)]
        trained = work_[Versions].get(work_[Models].get("demo").id, 2).update_classes
    assert kinds == ["update", "import", "import_images", "import_images"]
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
