"""Pages by which a person makes, exports, downloads, erases and deletes, with what the API asks."""

import re
from collections.abc import Mapping
from html import unescape

import httpx
import pytest

from core.datasets.edit import create_dataset
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.erasure.rows import Erasures
from core.jobs.rows import Jobs
from core.principal import Role
from core.registry.rows import Models
from core.values import sha256
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.image_files import picture
from tests.support.api.orders import update
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service
from tests.support.scene import Scene


@pytest.fixture(scope="module")
def admin(shared_service: Service) -> Browser:
    return browser_of(shared_service, Role.ADMIN)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"m-{sha256(request.node.name.encode())[:8]}"


def asked(answer: httpx.Response) -> Mapping[str, str]:
    """The fields that the form of a question sends, without its token."""
    form = answer.text.partition("<main")[2].partition('<form method="post"')[2]
    found = re.findall(r'<input type="hidden" name="(.*?)" value="(.*?)"', form)
    return {field: unescape(value) for field, value in found if field != "token"}


def a_frozen_dataset(service: Service, browser: Browser, name: str, seed: int) -> str:
    """The address of a dataset whose version 1 has one image, which its draft has too."""
    create_dataset(service.platform, name, DatasetKind.LABELLED)
    here = f"/ui/datasets/{name}"
    sent = {"token": browser.token(), "text": "cup"}
    files = [("images", ("a.png", picture(seed)))]
    browser.client.post(f"{here}/images", data=sent, files=files, headers=browser._headers({}))
    browser.send(f"{here}/versions")
    return here


def test_a_model_is_made_once_by_who_may(
    shared_service: Service, viewer: Browser, name: str
) -> None:
    operator = browser_of(shared_service, Role.OPERATOR)
    limited = browser_of(shared_service, Role.OPERATOR, "demo")
    form = {"name": name, "base": "bundled", "suites": "", "policy": "default"}
    with shared_service.untouched():
        for other in (viewer, limited):
            assert 'action="/ui/models"' not in other.get("/ui").text
            assert other.send("/ui/models", **form).status_code == 403
        for wrong, code in (
            ({"base": "nowhere"}, "base_unknown"),
            ({"suites": "none"}, "suite_not_found"),
            ({"name": "demo"}, "name_taken"),
            ({"suites": "none " * 51}, "field_invalid"),
        ):
            assert code in operator.send("/ui/models", **form | wrong).text
    key = asked(operator.get("/ui"))["key"]
    made = [operator.send("/ui/models", **form, key=key).headers["location"] for _ in range(2)]
    assert made[0] == made[1]
    with shared_service.platform.transactions(read_only=True) as work:
        assert work[Jobs].get(made[0].rpartition("/")[2]).model == work[Models].get(name).id


def test_a_suite_is_made_of_a_dataset_version(
    shared_service: Service, admin: Browser, name: str
) -> None:
    here = f"{a_frozen_dataset(shared_service, admin, name, 31)}/versions/1"
    helper = browser_of(shared_service, Role.CONTRIBUTOR)
    limited = browser_of(shared_service, Role.OPERATOR, "demo")
    for other in (helper, limited):
        assert f"{here}/suite" not in other.get(here).text
    with shared_service.untouched():
        assert helper.send(f"{here}/suite", name=name).status_code == 403
        assert limited.send(f"{here}/suite", name=name).status_code == 403
        wrong = admin.send(f"{here}/suite", name=name, prompt="no name")
        assert "prompt_invalid" in wrong.text
    assert f"{here}/suite" in admin.get(here).text
    made = admin.send(f"{here}/suite", name=name, prompt="a photo of {name}.", mirror="yes")
    assert made.headers["location"] == "/ui/suites"
    row = admin.get("/ui/suites").text.partition(f"<b>{name}</b>")[2].partition("</tr>")[0]
    assert "zero shot, may be mirrored" in row
    model = a_root(shared_service.platform, f"{name}-taught").name
    assert f"/ui/datasets/{name}/versions/1/update" not in admin.get(f"/ui/models/{model}").text


def test_a_model_is_taught_from_its_page(
    shared_service: Service, admin: Browser, viewer: Browser, name: str
) -> None:
    here = a_frozen_dataset(shared_service, admin, name, 32)
    a_root(shared_service.platform, name)
    order = f"{here}/versions/1/update?model={name}"
    assert order in admin.get(f"/ui/models/{name}").text
    assert order not in viewer.get(f"/ui/models/{name}").text
    assert f'name="model" list="models" value="{name}"' in admin.get(order).text


def test_a_version_is_exported_and_downloaded(
    shared_service: Service, viewer: Browser, name: str
) -> None:
    helper = browser_of(shared_service, Role.CONTRIBUTOR)
    other = browser_of(shared_service, Role.VIEWER, a_root(shared_service.platform, name).name)
    here = "/ui/models/demo/versions/1"
    assert f'action="{here}/exports"' not in viewer.get(f"{here}/files").text
    form = {"format": "open_clip", "key": asked(helper.get(f"{here}/files"))["key"]}
    with shared_service.untouched():
        assert viewer.send(f"{here}/exports", **form).status_code == 403
        assert "field_invalid" in helper.send(f"{here}/exports", format="zip").text
    ordered = {helper.send(f"{here}/exports", **form).headers["location"] for _ in range(2)}
    assert len(ordered) == 1
    helper.send(f"{ordered.pop()}/cancel")
    tar = viewer.get(f"{here}/download")
    assert (tar.status_code, tar.headers["content-type"]) == (200, "application/x-tar")
    assert tar.headers["content-disposition"].startswith("attachment")
    with shared_service.untouched():
        gone = f"{here}/exports/onnx"
        assert viewer.get(f"{gone}/download").status_code == 404
        assert helper.get(f"{gone}/deletion").status_code == 404
        assert helper.send(f"{gone}/deletion").status_code == 404
    assert other.get(f"{here}/download").status_code == 404


def test_deletions_ask_once_and_say_what_is_lost(
    shared_service: Service, admin: Browser, name: str
) -> None:
    platform = shared_service.platform
    dataset = a_frozen_dataset(shared_service, admin, name, 33)
    model = a_root(platform, name)
    a_candidate(platform, model)
    operator = browser_of(shared_service, Role.OPERATOR)
    viewer = browser_of(shared_service, Role.VIEWER)
    here = f"/ui/models/{name}"
    for page, lost in (
        (f"{here}/versions/2", "Its weights, its report and its exports"),
        (here, "1 version with weights"),
        (f"{dataset}/versions/1", "Which 1 image it held is forgotten"),
        (dataset, "1 image and 0 versions are deleted for good"),
    ):
        address = f"{page}/deletion"
        lower = viewer if page == dataset else operator  # which has no version any more
        with shared_service.untouched():
            assert address in admin.get(page).text
            assert address not in lower.get(page).text
            assert lost in admin.get(address).text
            assert lower.send(address).status_code == 403
            if page == here:
                busy = admin.send(f"{here}/versions/1/deletion")
                assert (busy.status_code, "in_use" in busy.text) == (409, True)
        done = admin.send(address)
        assert done.status_code == 303
        cookie, told = done.headers["set-cookie"].split(";")[0], done.headers["location"]
        after = admin.get(told, cookie=cookie)
        assert "was deleted.</p>" in after.text
        assert 'perennial_told=""' in after.headers["set-cookie"]  # it is shown once
        assert admin.get(page).status_code == 404


def test_an_erasure_asks_for_a_reason_and_is_ordered_once(
    shared_service: Service, admin: Browser, name: str
) -> None:
    here = a_frozen_dataset(shared_service, admin, name, 34)
    helper = browser_of(shared_service, Role.OPERATOR)
    address = f"{here}/erasures"
    assert address in admin.get(f"{here}/images").text
    assert address not in helper.get(f"{here}/images").text
    with shared_service.platform.transactions(read_only=True) as work:
        (row,) = work[Datasets].images(work[Datasets].get(name).id)
    chosen = {row.image.pixels: "on", "list": "images", "class": "cup", "after": ""}
    with shared_service.untouched():
        assert helper.send(f"{address}/question", **chosen).status_code == 403
        assert admin.send(f"{address}/question").status_code == 422
        question = admin.send(f"{address}/question", **chosen)
        assert "Erase 1 image everywhere?" in question.text
        fields = {**asked(question), "retrain": "all"}
        unsaid = admin.send(address, **fields)
        assert (unsaid.status_code, "Enter a reason" in unsaid.text) == (422, True)
        assert asked(unsaid) == asked(question)
        assert admin.send(address, **fields | {"retrain": "x", "reason": "r"}).status_code == 422
    done = {admin.send(address, **fields, reason="r").headers["location"] for _ in range(2)}
    assert len(done) == 1
    with shared_service.platform.transactions(read_only=True) as work:
        (erasure,) = [e for e in work[Erasures].page(100, None) if row.image.pixels in e.images]
    assert f"/ui/jobs/{erasure.job}" in done
    admin.send(f"{done.pop()}/cancel")


def test_a_dataset_that_a_model_has_learned_is_marked_where_it_is_offered(ready: Service) -> None:
    def offered(model: str) -> str:
        text = browser_of(ready, Role.CONTRIBUTOR).get(f"/ui/models/{model}").text
        return text.partition('id="lessons"')[2].partition("</section>")[0]

    a_root(ready.platform, "other")
    assert ready.client.post("/v1/jobs", json=update()).status_code == 202
    Scene(ready.platform.transactions, ready.platform.artifacts).run()
    assert "products, version 1 (2 classes, learned by version 2 already)" in offered("demo")
    assert "products, version 1 (2 classes)" in offered("other")
