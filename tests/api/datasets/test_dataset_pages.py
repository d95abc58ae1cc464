"""Pages that fill a dataset, edit it, and order an update from it, and the page of suites."""

import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import httpx
import pytest

from core.datasets.edit import create_dataset
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.jobs.rows import Jobs
from core.principal import Role
from core.values import Digest, sha256
from tests.support.api.browsing import SCRIPT, Browser, browser_of
from tests.support.api.image_files import photograph, picture, pictures_on
from tests.support.api.seeds import a_root, with_parameters
from tests.support.api.service import Service
from tests.support.scene import Scene

PIXELS = re.compile(r'type="checkbox" name="([0-9a-f]{64})"')

CHOSEN = re.compile(r'name="promote" value="(\w+)" checked')

JSON = "application/json"


@pytest.fixture(scope="module")
def helper(shared_service: Service) -> Browser:
    return browser_of(shared_service, Role.CONTRIBUTOR)


@pytest.fixture
def here(shared_service: Service, request: pytest.FixtureRequest) -> str:
    """The address of an empty dataset."""
    name = f"d-{sha256(request.node.name.encode())[:8]}"
    create_dataset(shared_service.platform, name, DatasetKind.LABELLED)
    return f"/ui/datasets/{name}"


def upload(
    browser: Browser,
    here: str,
    *files: tuple[str, bytes],
    key: str = "",
    token: str | None = None,
    **fields: str,
) -> httpx.Response:
    """The answer to a form with files, each by its field: as a page sends it, or as a script."""
    headers = browser._headers({"Accept": JSON, "Idempotency-Key": here + key} if key else {})
    sent: dict[str, Any] = {"token": browser.token() if token is None else token} | fields
    parts = [(name, (f"<b>{n}.png", data)) for n, (name, data) in enumerate(files)]
    return browser.client.post(f"{here}/images", data=sent, files=parts, headers=headers)


def hidden(answer: httpx.Response) -> dict[str, str]:
    """The fields of the first form of a page's main part."""
    form = answer.text.partition("<main")[2].partition('<form method="post"')[2]
    found = re.findall(r'name="(.*?)" value="(.*?)"', form.partition("</form>")[0])
    return {name: unescape(value) for name, value in found if name != "token"}


def held(service: Service, here: str) -> dict[Digest, str]:
    """The images of a dataset with their classes, by pixels."""
    with service.platform.transactions(read_only=True) as work:
        rows = work[Datasets].images(work[Datasets].get(here.rpartition("/")[2]).id)
    return {row.image.pixels: row.text for row in rows}


def test_a_button_that_is_pressed_twice_freezes_one_version(
    shared_service: Service, helper: Browser, here: str
) -> None:
    upload(helper, here, ("images", picture(11)), text="cup")
    form = {"token": helper.token()}
    with ThreadPoolExecutor(2) as both:
        at_once = [both.submit(helper.post, f"{here}/versions", form) for _ in range(2)]
    shown = [answer.result().headers["location"] for answer in at_once]
    assert shown == [f"{here}/versions/1"] * 2
    upload(helper, here, ("images", picture(12)), text="cup")
    assert helper.send(f"{here}/versions").headers["location"] == f"{here}/versions/2"
    with shared_service.platform.transactions(read_only=True) as work:
        versions = work[Datasets].versions(work[Datasets].get(here.rpartition("/")[2]).id)
    assert [version.images for version in versions] == [1, 2]


def test_a_dataset_is_made_filled_and_frozen_without_scripts(
    shared_service: Service, helper: Browser, viewer: Browser
) -> None:
    with shared_service.untouched():
        for name, status in (("products", 409), ("No Name", 422), ("", 422)):
            refused = helper.send("/ui/datasets", name=name, description="some <b>shoes</b>")
            assert refused.status_code == status
            assert 'value="some &lt;b&gt;shoes&lt;/b&gt;"' in refused.text
    here = helper.send("/ui/datasets", name="by-hand").headers["location"]
    assert here == "/ui/datasets/by-hand"
    assert "dataset_empty" in helper.send(f"{here}/versions").text
    answer = upload(
        helper, here, ("images", picture(1)), ("images", picture(1)), ("images", b"no"), text=SCRIPT
    )
    assert answer.status_code == 200
    assert "1 added, 1 here already, 1 refused" in answer.text
    assert "unsupported_image" in answer.text
    with shared_service.untouched():
        assert upload(helper, here, ("images", b"no"), text="x").status_code == 422
        assert "class_invalid" in upload(helper, here, ("images", picture(2)), text=" ").text
        none = helper.post(f"{here}/images", {"token": helper.token()}, as_files=True)
        assert (none.status_code, "Choose at least one image" in none.text) == (422, True)
    done = helper.send(f"{here}/versions").headers["location"]
    assert "&lt;b&gt;2.png" in answer.text
    for path in ("/ui/datasets", here, f"{here}/images", done):
        assert viewer.get(path).text.count('method="post"') == 1  # that signs out


def test_a_batch_that_is_sent_again_adds_nothing(
    shared_service: Service, helper: Browser, here: str
) -> None:
    files = [("boot", picture(1)), ("boot", picture(1)), ("bag", picture(2)), ("bag", b"no")]
    first = upload(helper, here, *files, key="one")
    outcomes = [receipt["outcome"] for receipt in first.json()]
    assert outcomes == ["created", "duplicate", "created", "rejected"]
    with shared_service.untouched():
        again = upload(helper, here, *files, key="one")
        assert again.json() == first.json()
        other = upload(helper, here, ("boot", picture(3)), key="one")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        ended = upload(
            Browser(client=shared_service.client, session="x"), here, *files, key="one", token=""
        )
        assert (ended.status_code, ended.json()["code"]) == (401, "unauthorised")
    assert sorted(held(shared_service, here).values()) == ["bag", "boot"]
    more = upload(helper, here, *files, key="two").json()
    assert [receipt["outcome"] for receipt in more] == [*["duplicate"] * 3, "rejected"]


def test_images_that_look_alike_are_shown_together_moved_and_removed(
    shared_service: Service, helper: Browser, here: str
) -> None:
    files = [("boot", photograph(1, quality=95)), ("bag", photograph(1, quality=80))]
    answer = upload(helper, here, *files, ("bag", picture(5)), key="k")
    assert answer.json()[1]["near_duplicate_of"] == answer.json()[0]["pixels"]
    pair = PIXELS.findall(helper.get(f"{here}/near-duplicates").text)
    assert len(pair) == 2
    chosen = dict.fromkeys(pair, "on")
    moved = helper.send(f"{here}/moves", list="alike", to="bag", new="shoe", **chosen)
    assert "2 images were moved." in moved.text
    helper.send(f"{here}/versions")
    with shared_service.untouched():
        frozen = helper.send(f"{here}/removals", list="alike", sure="yes", **{pair[0]: "on"})
        assert (frozen.status_code, "image_frozen" in frozen.text) == (409, True)
    upload(helper, here, ("bag", picture(6)), key="l")
    (new,) = held(shared_service, here).keys() - set(pair) - {Digest(answer.json()[2]["pixels"])}
    with shared_service.untouched():
        asked = helper.send(f"{here}/removals", **{"class": "bag", new: "on"})
    assert "Remove 1 image?" in asked.text
    gone = helper.send(f"{here}/removals", **hidden(asked))
    assert gone.headers["location"] == f"{here}/images?class=bag&removed=1"
    assert new not in held(shared_service, here)


def test_a_move_is_undone_image_by_image(
    shared_service: Service, helper: Browser, here: str
) -> None:
    upload(helper, here, ("boot", picture(1)), ("bag", picture(2)), ("bag", picture(3)), key="k")
    before = held(shared_service, here)
    moved = helper.send(f"{here}/moves", to="bag", **dict.fromkeys(before, "on"))
    assert "1 image was moved." in moved.text  # the others were there already
    assert {*held(shared_service, here).values()} == {"bag"}
    with shared_service.untouched():
        stale = helper.send(f"{here}/moves", **hidden(moved), **{"0" * 64: "bag"})
        assert (stale.status_code, "image_not_found" in stale.text) == (404, True)
    again = helper.send(f"{here}/moves", **hidden(moved))
    assert "1 image was moved back." in again.text
    assert held(shared_service, here) == before


def test_boxes_are_checked_for_all_by_a_link(helper: Browser, here: str) -> None:
    upload(helper, here, ("bag", picture(2)), ("cup", picture(3)), key="k")
    one = helper.get(f"{here}/images?class=bag").text
    assert f'href="{here}/images?class=bag&amp;all=yes"' in one
    assert "checked" not in one
    assert helper.get(f"{here}/images?class=bag&all=yes").text.count(" checked>") == 1
    assert helper.get(f"{here}/images?all=yes").text.count(" checked>") == 2


def test_a_class_is_renamed_and_the_difference_is_shown(
    shared_service: Service, helper: Browser, here: str
) -> None:
    upload(helper, here, ("a/b", picture(1)), ("bag", picture(2)), key="k")
    helper.send(f"{here}/versions")
    with shared_service.untouched():
        taken = helper.send(f"{here}/renames", **{"class": "a/b", "to": "bag"})
        assert (taken.status_code, "Join a/b to bag?" in taken.text) == (409, True)
    named = helper.send(f"{here}/renames", **{"class": "a/b", "to": SCRIPT})
    helper.send(f"{here}/renames", **hidden(named))  # which undoes it
    assert "a/b" in held(shared_service, here).values()
    helper.send(f"{here}/renames", **{"class": "a/b", "to": SCRIPT})
    upload(helper, here, ("bag", picture(3)), key="l")
    version = helper.send(f"{here}/versions").headers["location"]
    text = helper.get(f"{version}/diff?against=1").text
    assert "1 added, 0 removed, 1 moved." in text
    assert SCRIPT not in text
    question = helper.send(f"{here}/renames", **{"class": SCRIPT, "to": "bag"})
    joined = helper.send(f"{here}/renames", **hidden(question))
    assert "3 images now" in joined.text


def test_an_update_is_ordered_after_advice(
    shared_service: Service, helper: Browser, here: str
) -> None:
    few = pictures_on(Side.TRAIN, 4)
    upload(helper, here, *((SCRIPT, data) for data in few[:2]), ("cat", few[2]), key="k")
    version = helper.send(f"{here}/versions").headers["location"]
    asked = {"model": "demo", "alias": "production", "recipe": "default"}
    with shared_service.untouched():
        assert "few_per_class" in helper.send(f"{version}/update/advice", **asked).text
        refused = helper.send(f"{version}/update", **asked | {"recipe": "<b>"})
        assert (refused.status_code, "one of the recipes" in refused.text) == (422, True)
    upload(helper, here, ("cat", few[3]), key="l")
    version = helper.send(f"{here}/versions").headers["location"]
    with shared_service.untouched():
        advice = helper.send(f"{version}/update/advice", **asked)
    assert (advice.status_code, "Order the update" in advice.text) == (200, True)
    assert advice.text.index('id="advice"') < advice.text.index("Order the update")
    assert SCRIPT not in advice.text
    create_dataset(shared_service.platform, "told-on-a-page", DatasetKind.CAPTIONED)
    for captions, said in (
        ("photos:two", "a version such as photos:2"),
        ("told-on-a-page:99999999999999999999", "a version such as photos:2"),
        ("told-on-a-page", "has no version yet"),
        ("nowhere", "dataset_not_found"),
    ):
        refused = helper.send(f"{version}/update/advice", **asked, captions=captions)
        assert said in refused.text, captions
        assert f'value="{captions}"' in refused.text
    ordered = [helper.send(f"{version}/update", **asked, key="k", promote="yes") for _ in range(2)]
    where = {answer.headers["location"] for answer in ordered}
    assert len(where) == 1
    with shared_service.platform.transactions(read_only=True) as work:
        job = work[Jobs].get(where.pop().rpartition("/")[2])
    assert job.order.auto_promote is False  # a contributor moves no alias
    helper.send(f"/ui/jobs/{job.id}/cancel")  # or other tests would find that `demo` is taught

    operator = browser_of(shared_service, Role.OPERATOR)
    assert CHOSEN.findall(operator.get(f"{version}/update").text) == ["yes"]
    for choice, promotes in (("yes", True), ("no", False)):
        sent = {**asked, "key": choice, "promote": choice}
        said = operator.send(f"{version}/update/advice", **sent).text
        assert CHOSEN.findall(said) == [choice]
        place = operator.send(f"{version}/update", **sent).headers["location"]
        with shared_service.platform.transactions(read_only=True) as work:
            assert work[Jobs].get(place.rpartition("/")[2]).order.auto_promote is promotes
        operator.send(f"{place}/cancel")


def test_a_rate_far_above_the_models_is_ordered_on_the_page_only_if_it_is_forced(
    shared_service: Service, here: str
) -> None:
    a_root(shared_service.platform, "large")
    with_parameters(shared_service.platform, "large", 150_000_000)
    helper = browser_of(shared_service, Role.CONTRIBUTOR)
    files = pictures_on(Side.TRAIN, 4)
    upload(helper, here, *((("bag", "cat")[n % 2], data) for n, data in enumerate(files)), key="k")
    version = helper.send(f"{here}/versions").headers["location"]
    sent = {"model": "large", "alias": "production", "recipe": "default"}
    form = f"{version}/update"
    assert 'name="force"' not in helper.get(form).text
    with shared_service.untouched():
        assert "literature" in helper.send(f"{form}/advice", **sent).text
        advice = helper.send(f"{form}/advice", **sent, learning_rate="3e-4")
        refused = helper.send(form, **sent, learning_rate="3e-4")
        odd = helper.send(form, **sent, learning_rate="fast")
    assert (advice.status_code, refused.status_code, odd.status_code) == (200, 422, 422)
    assert "A learning rate is a number." in odd.text
    assert "recipe_unsafe" in refused.text
    for answer in (advice, refused):
        assert "more than 10 times the model&#39;s default, 1e-05" in answer.text
        assert 'name="force"' in answer.text
        assert 'value="3e-4"' in answer.text
    place = helper.send(form, **sent, learning_rate="3e-4", force="yes").headers["location"]
    with shared_service.platform.transactions(read_only=True) as work:
        order = work[Jobs].get(place.rpartition("/")[2]).order
    assert (order.recipe.learning_rate, order.recipe.optimiser) == (3e-4, "adamw")
    text = helper.get("/ui/models/large").text
    assert "<code>learning_rate</code>" in text
    assert "literature" in text


def test_everyone_reads_suites_policies_and_what_they_judge(
    shared_service: Service, line: Scene, viewer: Browser
) -> None:
    a_root(shared_service.platform, "watched")
    text = viewer.get("/ui/suites").text
    assert "<b>easy</b>" in text.replace("<bdi>", "").replace("</bdi>", "")
    assert '<a href="/ui/models/line/policy">line</a>' in text
    limited = browser_of(shared_service, Role.VIEWER, "watched").get("/ui/suites").text
    assert "/ui/models/watched/policy" in limited
    assert "/ui/models/line/policy" not in limited
