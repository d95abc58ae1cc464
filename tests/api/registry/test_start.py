"""The one-call start: images named after their classes become an update, or nothing at all."""

import json
from typing import Any

import pytest

from core.datasets.manifests import Side
from core.gate.rules import Verdict
from core.registry.rows import Models
from tests.support.api import image_files as pictures
from tests.support.api.image_files import pictures_on
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, code_of

PATH = "/v1/models/demo/classes"


@pytest.fixture
def demo(service: Service) -> Service:
    """A service with the model `demo`."""
    a_root(service.platform)
    return service


def images(**counts: int) -> list[Any]:
    """So many training images of each class, no image twice."""
    pool = iter(pictures_on(Side.TRAIN, 8))
    return [
        (name, (f"{name}-{n}.png", next(pool)))
        for name, count in counts.items()
        for n in range(count)
    ]


def test_one_call_makes_dataset_version_and_job(demo: Service) -> None:
    recipe = {"recipe": json.dumps({"epochs": 2})}
    answer = demo.client.post(PATH, files=[*images(panda=3, okapi=3)], data=recipe)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{made['job']['id']}"
    assert made["job"]["recipe"]["epochs"] == 2
    assert made["job"]["dataset_version"] == {"dataset": made["dataset"]["id"], "version": 1}
    assert made["dataset_version"]["classes"] == ["okapi", "panda"]
    assert {row["outcome"] for row in made["files"]} == {"created"}
    assert demo.client.get(answer.headers["location"]).json() == made["job"]
    version = demo.client.get(f"/v1/datasets/{made['dataset']['name']}/versions/1")
    assert version.json() == made["dataset_version"]
    page = demo.client.get(f"/v1/datasets/{made['dataset']['name']}/images").json()
    assert len(page["data"]) == 6


REFUSED = [
    ({"panda": 1, "okapi": 3}, [], {}, 422, "too_few_per_class"),
    ({"panda": 3}, [], {}, 422, "too_few_classes"),
    ({"panda": 2, "okapi": 2}, ["yak"], {}, 422, "too_few_per_class"),
    ({}, ["yak"], {}, 422, "all_rejected"),
    ({"panda": 2, "okapi": 2}, [], {"recipe": "{"}, 422, "recipe_invalid"),
    ({"panda": 2, "okapi": 2}, [], {"recipe": "[" * 100}, 422, "field_invalid"),
    ({"panda": 2, "okapi": 2}, [], {"recipe": '{"epoch": 1}'}, 422, "recipe_invalid"),
    ({"panda": 2, "okapi": 2}, [], {"method": "ft"}, 422, "field_unknown"),
]


def test_a_start_that_cannot_be_made_leaves_nothing(demo: Service) -> None:
    for counts, bad, data, status, code in REFUSED:
        files = [*images(**counts), *((name, ("x.jpg", b"no image")) for name in bad)]
        with demo.untouched():
            answer = demo.client.post(PATH, files=files, data=data)
        assert code_of(answer) == (status, code), (counts, data)
    with demo.untouched():
        answer = demo.client.post(PATH, files=[("recipe", (None, "{}"))])
        missing = demo.client.post(PATH.replace("demo", "nope"), files=images(a=2, b=2))
    assert (code_of(answer), code_of(missing)) == ((422, "all_rejected"), (404, "model_not_found"))


def test_a_start_is_replayed_by_its_key_whatever_the_boundary(demo: Service) -> None:
    key = {"Idempotency-Key": "start"}
    files = [*images(panda=2, okapi=2), ("okapi", ("half.jpg", pictures.truncated()))]
    first = demo.client.post(PATH, files=files, headers=key)
    with demo.untouched():
        again = demo.client.post(PATH, files=files, headers=key)
        other = demo.client.post(PATH, files=files[1:], headers=key)
    assert again.status_code == 202
    assert again.json() == first.json()
    outcomes = [row["outcome"] for row in first.json()["files"]]
    assert outcomes == ["created"] * 4 + ["rejected"]
    assert code_of(other) == (422, "idempotency_mismatch")


def test_learned_classes_name_their_last_teacher(demo: Service) -> None:
    assert demo.client.get(PATH).json()["data"] == []
    with demo.platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    a_candidate(demo.platform, model, verdict=Verdict.PASSED, teaches=("panda", "okapi"))
    a_candidate(demo.platform, model, verdict=Verdict.PASSED, parent=2, teaches=("okapi", "yak"))
    for version in (2, 3):
        promoted = demo.client.put(
            "/v1/models/demo/aliases/production",
            json={"version": version},
            headers={"If-Match": "*"},
        )
        assert promoted.status_code == 200
    found = demo.client.get(PATH).json()
    assert (found["version"], found["digest"]) == (3, promoted.json()["digest"])
    assert found["data"] == [
        {"class": "panda", "version": 2},
        {"class": "okapi", "version": 3},
        {"class": "yak", "version": 3},
    ]
    assert code_of(demo.client.get(PATH + "?alias=x")) == (404, "alias_not_found")
