"""A value of another type is refused and never turned into the wanted one; so is what is not asked.

A switch that was sent as a number, or a filter with a mistyped name, would else mean something
that its sender did not.
"""

import json
from typing import Any

from core.jobs.rows import Jobs
from core.values import JobId
from tests.support.api.image_files import picture
from tests.support.api.orders import update
from tests.support.api.service import EMBEDDED, Service, code_of

pytestmark = EMBEDDED


def pointers(answer: Any) -> list[str]:
    """Where an answer says that something is wrong."""
    return [line["pointer"] for line in answer.json()["errors"]]


VALUES = [
    ("/v1/gate-policies", {"name": "p", "parent_tolerance": True}, "/parent_tolerance"),
    ("/v1/gate-policies", {"name": "p", "alpha": "0.1"}, "/alpha"),
    ("/v1/gc", {"dry_run": 1}, "/dry_run"),
    ("/v1/jobs", update(dataset_version=1.0), "/dataset_version"),
    ("/v1/jobs", update(auto_promote="no"), "/auto_promote"),
    ("/v1/jobs", update(reference={"dataset": "d", "version": "1"}), "/reference/version"),
]


def test_a_value_of_another_json_type_is_refused(ready: Service) -> None:
    for path, body, pointer in VALUES:
        with ready.untouched():
            answer = ready.client.post(path, json=body)
        assert code_of(answer) == (422, "field_invalid"), body
        assert pointers(answer) == [pointer]


JSON = {"Content-Type": "application/json"}

TWICE = '{"name": "p", "parent_tolerance": 0, "parent_tolerance": 1}'


def test_a_field_that_is_there_twice_is_refused(ready: Service) -> None:
    within = json.dumps(update())[:-1] + ', "metadata": {"a": "1", "a": "2"}}'
    for path, text, name in (
        ("/v1/gate-policies", TWICE, "parent_tolerance"),
        ("/v1/jobs", within, "a"),
    ):
        with ready.untouched():
            answer = ready.client.post(path, content=text, headers=JSON)
        assert code_of(answer) == (422, "field_invalid")
        assert repr(name) in answer.json()["detail"]


def test_a_bad_text_in_a_forms_json_is_pointed_to(ready: Service) -> None:
    files = [("cat", (f"{seed}.png", picture(seed))) for seed in range(4)]
    texts = [
        ("recipe", r'{"vocabulary_texts": ["a", "\ud800"]}', "/recipe/vocabulary_texts/1"),
        ("recipe", "[" * 100, "/recipe"),
        ("recipe", '{"epochs": "6"}', "/recipe/epochs"),
        ("reference", r'{"dataset": "\u0000", "version": 1}', "/reference/dataset"),
        ("reference", '{"dataset": "d", "version": "1"}', "/reference"),
    ]
    for field, text, pointer in texts:
        with ready.untouched():
            answer = ready.client.post("/v1/models/demo/classes", data={field: text}, files=files)
        assert answer.status_code == 422
        assert pointers(answer) == [pointer]


def test_a_large_order_is_read_as_a_small_one(ready: Service) -> None:
    texts = [f"a photo of the object with number {number}" for number in range(3000)]
    recipe = {"vocabulary": "file", "vocabulary_texts": texts}
    with ready.untouched():
        wrong = ready.client.post("/v1/jobs", json=update(recipe=recipe, dataset_version="1"))
        unknown = ready.client.post("/v1/jobs", json=update(recipe=recipe, wish=1))
    assert code_of(wrong) == (422, "field_invalid")
    assert pointers(wrong) == ["/dataset_version"]
    assert code_of(unknown) == (422, "field_unknown")
    assert pointers(unknown) == ["/wish"]
    answer = ready.client.post("/v1/jobs", json=update(recipe=recipe, metadata={"a": "b"}))
    assert answer.status_code == 202
    assert answer.json()["metadata"] == {"a": "b"}
    with ready.platform.transactions(read_only=True) as work:
        job = work[Jobs].get(JobId(answer.json()["id"]))
    assert job.order.recipe.vocabulary_texts == tuple(texts)  # type: ignore[union-attr]
    (shown,) = ready.client.get("/v1/jobs", params={"type": "update"}).json()["data"]
    assert shown | {"recipe": answer.json()["recipe"]} == answer.json()


def test_a_form_field_that_is_sent_twice_is_refused(ready: Service) -> None:
    files = [
        ("recipe", (None, json.dumps({"epochs": 1}))),
        ("recipe", (None, json.dumps({"epochs": 2}))),
        *(("cat", (f"{seed}.png", picture(seed))) for seed in range(4)),
    ]
    with ready.untouched():
        answer = ready.client.post("/v1/models/demo/classes", files=files)
    assert code_of(answer) == (422, "field_invalid")
    assert pointers(answer) == ["/recipe"]


PATHS = [
    "/v1/jobs",
    "/v1/models/demo/versions/1/download",
    "/healthz",
    "/metrics",
    "/openapi.json",
]


def test_a_query_parameter_that_no_route_knows_is_refused(ready: Service) -> None:
    for path in PATHS:
        answer = ready.client.get(path, params={"created_after": "2026-01-01"})
        assert code_of(answer) == (422, "field_unknown"), path
        assert pointers(answer) == ["#query/created_after"]
    with ready.untouched():
        answer = ready.client.post("/v1/gc?dry_run=true", json={})
    assert code_of(answer) == (422, "field_unknown")
    known = ready.client.get("/v1/jobs?type=update&status=queued&limit=3&model=demo")
    assert known.status_code == 200


def test_a_number_in_an_address_is_plain_digits(ready: Service) -> None:
    for value in ["5.0", "%205", "1_0", "%2B5", "٥"]:
        listed = ready.client.get(f"/v1/jobs?limit={value}")
        assert code_of(listed) == (422, "field_invalid"), value
        assert pointers(listed) == ["#query/limit"]
        one = ready.client.get(f"/v1/models/demo/versions/{value}")
        assert code_of(one) == (422, "field_invalid")


def test_a_query_parameter_that_is_sent_twice_is_refused(ready: Service) -> None:
    answer = ready.client.get("/v1/jobs?limit=1&limit=200")
    assert code_of(answer) == (422, "field_invalid")
    assert pointers(answer) == ["#query/limit"]


def test_json_under_another_content_type_is_refused_as_such(ready: Service) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": kind} if kind else {}
        with ready.untouched():
            answer = ready.client.post("/v1/datasets", content=b'{"name": "cats"}', headers=headers)
        assert code_of(answer) == (415, "unsupported_media_type")
        assert "application/json" in answer.json()["detail"]
    for number, kind in enumerate(["application/json; charset=utf-8", "application/x+json"]):
        body = json.dumps({"name": f"cats{number}"})
        answer = ready.client.post("/v1/datasets", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 201
    assert ready.client.post("/v1/datasets/products/versions").status_code == 201  # without a body
