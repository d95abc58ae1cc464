"""Methods that need more than images: what is refused at once, and what the order keeps."""

import json
from typing import Any

import pytest

from core.datasets.manifests import Part, Side
from core.datasets.rules import DatasetRef
from core.jobs.orders import UpdateOrder
from core.jobs.rows import Jobs
from core.values import DatasetId, JobId
from tests.support.api.image_files import parts_of, pictures_on
from tests.support.api.orders import update
from tests.support.api.service import Service, code_of

ZSCL, WISE = {"method": "zscl"}, {"method": "wise"}

SHOWN = {"dataset": "shown", "version": 1}


@pytest.fixture
def shown(ready: Service) -> Service:
    """Also with a captioned dataset of two images to distil."""
    frozen(ready, "shown", pictures_on(Side.TRAIN, 11)[9:], kind="captioned")
    return ready


def frozen(service: Service, name: str, images: tuple[bytes, ...], kind: str = "labelled") -> None:
    service.client.post("/v1/datasets", json={"name": name, "kind": kind})
    files = [(f"thing {n % 2}", (f"{n}.png", image)) for n, image in enumerate(images)]
    assert service.client.post(f"/v1/datasets/{name}/images", files=files).status_code == 200
    assert service.client.post(f"/v1/datasets/{name}/versions").status_code == 201


def suite(service: Service, dataset: str, kind: str = "zero_shot") -> None:
    body = {"name": f"suite-{dataset}", "kind": kind, "dataset": dataset, "dataset_version": 1}
    assert service.client.post("/v1/suites", json=body).status_code == 201
    change = {"suites": [body["name"]]}
    assert service.client.patch("/v1/models/demo", json=change).status_code == 200


# ---- zscl -----------------------------------------------------------------------------------


REFERENCES = [
    ({"recipe": ZSCL}, 422, "field_invalid", "/reference"),
    ({"reference": SHOWN}, 422, "field_invalid", "/reference"),
    ({"recipe": ZSCL, "reference": {"dataset": "shown"}}, 422, "field_invalid", None),
    ({"recipe": ZSCL, "reference": SHOWN | {"path": "x"}}, 422, "field_unknown", None),
    ({"recipe": ZSCL, "reference": SHOWN | {"version": 2}}, 404, None, None),
    ({"recipe": ZSCL, "reference": SHOWN | {"dataset": "nope"}}, 404, None, None),
]


def test_reference_set_goes_with_the_method_that_needs_one(shown: Service) -> None:
    for changes, status, code, pointer in REFERENCES:
        with shown.untouched():
            answer = shown.client.post("/v1/jobs", json=update(**changes))
        assert answer.status_code == status, changes
        if code is not None:
            assert code_of(answer) == (status, code)
        if pointer is not None:
            assert answer.json()["errors"][0]["pointer"] == pointer


def test_reference_set_is_kept_by_id_also_when_the_job_is_tried_again(shown: Service) -> None:
    answer = shown.client.post("/v1/jobs", json=update(recipe=ZSCL, reference=SHOWN))
    job = answer.json()
    found = shown.client.get("/v1/datasets/shown").json()["id"]
    assert (answer.status_code, job["reference"]) == (202, {"dataset": found, "version": 1})
    shown.client.post(job["links"]["cancel"])
    again = shown.client.post(f"/v1/jobs/{job['id']}/retry").json()
    assert again["reference"] == job["reference"]
    with shown.platform.transactions(read_only=True) as work:
        order = work[Jobs].get(JobId(again["id"])).order
    assert isinstance(order, UpdateOrder)
    assert order.reference == DatasetRef(dataset=DatasetId(found), version=1)


def test_reference_set_whose_images_are_all_in_suites_is_refused(shown: Service) -> None:
    suite(shown, "shown", "retrieval")
    with shown.untouched():
        answer = shown.client.post("/v1/jobs", json=update(recipe=ZSCL, reference=SHOWN))
    assert code_of(answer) == (422, "field_invalid")
    assert "all are in suites or held out" in answer.json()["detail"]


def test_one_call_start_takes_a_reference_set_as_a_text_field(shown: Service) -> None:
    def teach(**fields: Any) -> Any:
        texts = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }
        images = pictures_on(Side.TRAIN, 9)
        files = [(f"kind {n % 2}", (f"{n}.png", image)) for n, image in enumerate(images)]
        return shown.client.post("/v1/models/demo/classes", data=texts, files=files)

    with shown.untouched():
        for wrong in (
            {},
            {"reference": "x"},
            {"reference": {"dataset": "shown"}},
            {"reference": 1},
        ):
            answer = teach(recipe=ZSCL, **wrong)
            assert code_of(answer) == (422, "field_invalid")
            assert answer.json()["errors"][0]["pointer"] == "/reference"
    start = teach(recipe=ZSCL, reference=SHOWN)
    assert start.status_code == 202
    assert start.json()["job"]["reference"]["version"] == 1


# ---- wise -----------------------------------------------------------------------------------


def test_choice_of_a_mixing_weight_needs_validation_images(ready: Service) -> None:
    with ready.untouched():
        answer = ready.client.post("/v1/jobs", json=update(recipe=WISE))
    assert code_of(answer) == (422, "recipe_invalid")
    assert answer.json()["errors"][0]["pointer"] == "/recipe/mixing_choice"
    assert answer.json()["facts"]["missing"] == [
        "this update's holdout",
        "the model's suites (it has none)",
    ]


def test_suite_without_a_validation_image_is_named(ready: Service) -> None:
    taught = pictures_on(Side.TRAIN, 9)[:6] + one_of(Part.VALIDATION, Side.HOLDOUT)
    frozen(ready, "enough", taught)
    frozen(ready, "blind", one_of(Part.TEST, Side.HOLDOUT))
    frozen(ready, "seen", one_of(Part.VALIDATION, Side.TRAIN))
    suite(ready, "blind")
    order = update(dataset="enough", recipe=WISE)
    with ready.untouched():
        answer = ready.client.post("/v1/jobs", json=order)
    assert answer.json()["facts"]["missing"] == ["suite 'suite-blind'"]
    suite(ready, "seen")
    assert ready.client.post("/v1/jobs", json=order).status_code == 202


def one_of(part: Part, side: Side) -> tuple[bytes, ...]:
    """An image of one part and side, beyond those that the ready dataset holds."""
    images = pictures_on(side, 60)
    found = zip(images, parts_of(side, 60), strict=True)
    return next((image,) for n, (image, its) in enumerate(found) if n > 10 and its is part)


# ---- replay ---------------------------------------------------------------------------------


def test_replay_without_an_earlier_update_is_no_error(ready: Service) -> None:
    answer = ready.client.post("/v1/jobs", json=update(recipe={"method": "replay"}))
    assert answer.status_code == 202
