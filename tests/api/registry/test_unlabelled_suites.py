"""Labels of unlabelled suites: over HTTP, and on the page that asks for one after another."""

import csv
import io
import re

import pytest

from core.datasets.rules import DatasetKind
from core.jobs.orders import EvaluateOrder
from core.principal import Role
from core.registry.configure import configure_model
from core.registry.versions import Model
from tests.support.api.browsing import browser_of
from tests.support.api.service import Service, code_of
from tests.support.evaluation.judged import judged_by, update
from tests.support.scene import Scene

HERE = "/v1/suites/shelf"
PAGE = "/ui/suites/shelf/label"


@pytest.fixture
def scene(service: Service) -> Scene:
    return Scene(service.platform.transactions, service.platform.artifacts)


@pytest.fixture
def model(service: Service, scene: Scene) -> Model:
    """Version 2 is right about 60 images of which version 1 is wrong about all."""
    made = scene.model("pets")
    judged_by(scene, made, minimum_count=20)
    scene.script.wrong = {scene.version(made, 1).digest}
    data = scene.frozen("", each=38, offset=500, kind=DatasetKind.UNLABELLED)
    body = {
        "name": "shelf",
        "kind": "unlabelled",
        "dataset": data.dataset,
        "dataset_version": data.number,
        "classes": ["dog", "cat"],
    }
    answer = service.client.post("/v1/suites", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["classes"] == ["cat", "dog"]
    configure_model(scene.platform, made.name, suites=["shelf"], policy=None)
    update(scene, made, "owl", "elk", auto_promote=False)
    return made


def listed(service: Service, **query: str | int) -> list[str]:
    answer = service.client.get(f"{HERE}/to-label", params={"version": "pets:2", **query})
    assert answer.status_code == 200, answer.text
    return [one["pixels"] for one in answer.json()["data"]]


def labels(pixels: list[str], name: str = "cat") -> dict[str, list[dict[str, str]]]:
    return {"labels": [{"pixels": one, "class": name} for one in pixels]}


def test_images_to_label_are_listed_in_pages_and_as_csv_without_any_answer(
    service: Service, model: Model
) -> None:
    every = listed(service, limit=100)
    path = f"{HERE}/to-label?version=pets:2&limit=7"
    first = service.client.get(path).json()
    assert first["has_more"]
    rest = listed(service, limit=100, after=first["next"])
    assert [one["pixels"] for one in first["data"]] + rest == every
    assert set(first["data"][0]) == {"pixels"}
    table = service.client.get(path, headers={"Accept": "text/csv"})
    rows = list(csv.reader(io.StringIO(table.text)))
    assert rows[0] == ["pixels", "class"]
    assert rows[1:] == [[one, ""] for one in every[:7]]
    image = service.client.get(f"{HERE}/images/{every[0]}")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/webp")
    service.client.post(f"{HERE}/labels", json=labels(every[:3]))
    assert listed(service, limit=100) == every[3:]


def test_labels_are_given_once_and_each_gets_a_receipt(service: Service, model: Model) -> None:
    first, second, *_ = listed(service)
    assert service.client.post(f"{HERE}/labels", json=labels([first])).json()["data"] == [
        {"pixels": first, "class": "cat", "status": "added", "error": None}
    ]
    mixed = {"labels": [*labels([first], "dog")["labels"], *labels([second], "CAT")["labels"]]}
    bad, good = service.client.post(f"{HERE}/labels", json=mixed).json()["data"]
    assert (bad["status"], bad["error"]["code"]) == (None, "image_labelled")
    assert (good["class"], good["status"]) == ("cat", "added")
    header = service.key(Role.OPERATOR)
    with service.untouched():
        again = service.client.post(f"{HERE}/labels", json=labels([first], "dog"))
        assert code_of(again) == (409, "image_labelled")
        unknown = service.client.post(f"{HERE}/labels", json=labels([second], "owl"))
        assert code_of(unknown) == (422, "class_invalid")
        assert "none of these" in unknown.json()["detail"]
        every = service.client.post(f"{HERE}/labels", json=labels(["0" * 64, "1" * 64]))
        assert code_of(every) == (422, "all_rejected")
        refused = service.client.post(f"{HERE}/labels", json=labels([second]), headers=header)
        assert refused.status_code == 403


def test_what_cannot_be_labelled_is_refused(service: Service, scene: Scene, model: Model) -> None:
    other = scene.model("other")
    configure_model(scene.platform, other.name, suites=["shelf"], policy=None)
    for version, code in (
        ("pets:9", (404, "version_not_found")),
        ("nobody:1", (404, "model_not_found")),
        ("pets:1", (404, "report_not_found")),
    ):
        answer = service.client.get(f"{HERE}/to-label?version={version}")
        assert code_of(answer) == code
    scene.suite(other, scene.frozen("hat", "bag", each=6, offset=900), name="easy")
    for path in ("to-label?version=pets:2", "labels"):
        answer = (
            service.client.post(f"/v1/suites/easy/{path}", json=labels(["0" * 64]))
            if path == "labels"
            else service.client.get(f"/v1/suites/easy/{path}")
        )
        assert code_of(answer) == (422, "field_invalid")
    datasets = service.client.get("/v1/datasets").json()["data"]
    [own] = [one for one in datasets if one["kind"] == "unlabelled"]
    grown = {"dataset": own["name"], "reason": "more"}
    assert code_of(service.client.post(f"{HERE}/images", json=grown)) == (422, "field_invalid")


def test_the_page_asks_for_one_image_after_another_and_hides_the_answers(
    service: Service, model: Model
) -> None:
    admin = browser_of(service, Role.ADMIN)
    every = listed(service, limit=100)
    for given, name in (({"class": "cat"}, "cat"), ({"typed": "2"}, "dog"), ({"typed": "0"}, "")):
        shown = admin.get(PAGE).text  # the newest version that was judged
        [pixels] = set(re.findall(r'name="pixels" value="([0-9a-f]+)"', shown))
        assert pixels == every.pop(0)
        assert f"{len(every) + 1} images to go" in shown
        assert "autofocus" in shown
        fields = {"version": "pets:2", "pixels": pixels, **given}
        answer = admin.send(PAGE, **fields)
        assert answer.headers["location"] == f"{PAGE}?version=pets%3A2"
        again = service.client.post(
            f"{HERE}/labels", json=labels([pixels], name or "none of these")
        )
        assert again.json()["data"][0]["status"] == "repeated"
    with service.untouched():
        refused = admin.send(PAGE, version="pets:2", pixels=every[0], typed="owl")
        assert (refused.status_code, "none of these" in refused.text) == (422, True)
    service.client.post(f"{HERE}/labels", json=labels(every))
    assert "perennial evaluate pets:2 --wait" in admin.get(f"{PAGE}?version=pets:2").text
    assert f'href="{PAGE.replace("shelf", "suite_")}' in admin.get("/ui/suites").text.replace(
        service.client.get(HERE).json()["id"], "suite_"
    )
    assert "Labels would help" in admin.get("/ui/models/pets/versions/2").text


def test_a_report_says_what_an_unlabelled_suite_cannot_tell(
    service: Service, scene: Scene, model: Model
) -> None:
    service.client.post(f"{HERE}/labels", json=labels(listed(service, limit=100)))
    scene.order(model, EvaluateOrder(version=2))
    scene.run()
    path = "/v1/models/pets/versions/2/forgetting"
    found = service.client.get(path).json()
    assert found["unlabelled"] == ["shelf"]
    [own] = [one for one in found["measures"] if (one["name"], one["asked"]) == ("shelf", "own")]
    known = own["disagreements"]
    assert known["total"] == known["labelled"] == own["images"]
    assert (own["difference"], own["gained"], own["lost"]) == (1.0, own["images"], 0)
    page = service.client.get(path, headers={"Accept": "text/html"}).text
    assert "labelled only where versions disagree" in page
    assert "unknown<small>" in page


def test_every_button_of_the_page_gives_the_class_that_it_shows(
    service: Service, model: Model
) -> None:
    admin = browser_of(service, Role.ADMIN)
    shown = admin.get(PAGE).text
    assert re.findall(r'<option value="([^"]*)">', shown) == ["cat", "dog", "none of these"]
    buttons = re.findall(r'name="class" value="([^"]*)">(.*?)</button>', shown)
    assert [value for value, _ in buttons] == ["cat", "dog", "none of these"]
    for value, text in buttons:
        assert value in text
        pixels = listed(service)[0]
        admin.send(PAGE, **{"version": "pets:2", "pixels": pixels, "class": value})
        again = service.client.post(f"{HERE}/labels", json=labels([pixels], value))
        assert again.json()["data"][0]["status"] == "repeated"


@pytest.mark.parametrize("typed", ["9" * 5000, "3", "\u0661", "-1", ""])
def test_a_number_of_no_class_is_refused(service: Service, model: Model, typed: str) -> None:
    admin = browser_of(service, Role.ADMIN)
    with service.untouched():
        answer = admin.send(PAGE, version="pets:2", pixels=listed(service)[0], typed=typed)
        assert answer.status_code == 422


def test_pages_call_unlabelled_images_neither_captioned_nor_trained_on(
    service: Service, model: Model
) -> None:
    viewer = browser_of(service, Role.VIEWER)
    datasets = service.client.get("/v1/datasets").json()["data"]
    [own] = [one["name"] for one in datasets if one["kind"] == "unlabelled"]
    assert "Images without labels" in viewer.get(f"/ui/datasets/{own}").text
    for path in ("versions/1/images", "statistics", "images"):
        text = viewer.get(f"/ui/datasets/{own}/{path}").text.lower()
        assert "to train on" not in text
        assert "held out" not in text
    version = viewer.get("/ui/models/pets/versions/2").text
    assert "until images are labelled" in version
    assert "suite create" not in version
    judged = viewer.get("/ui/models/pets/policy").text
    assert "too few labels to let a version pass" in judged
    assert service.client.get(HERE).json()["prompt"] in judged
