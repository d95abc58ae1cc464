"""A value of another type is refused and never turned into the wanted one; so is what is not asked.

A switch that was sent as a number, or a filter with a mistyped name, would else mean something
that its sender did not.
"""

import json
from typing import Any

import pytest

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
    ("/v1/gate-policies", {"name": "p", "minimum_count": 10.0}, "/minimum_count"),
    ("/v1/gc", {"dry_run": "yes"}, "/dry_run"),
    ("/v1/gc", {"dry_run": 1}, "/dry_run"),
    ("/v1/gc", {"keep_last": False}, "/keep_last"),
    ("/v1/gc", {"keep_last": "2"}, "/keep_last"),
    ("/v1/jobs", update(dataset_version="1"), "/dataset_version"),
    ("/v1/jobs", update(dataset_version=1.0), "/dataset_version"),
    ("/v1/jobs", update(auto_promote="no"), "/auto_promote"),
    ("/v1/jobs", update(priority="9"), "/priority"),
    ("/v1/jobs", update(reference={"dataset": "d", "version": "1"}), "/reference/version"),
]


def test_a_value_of_another_json_type_is_refused(ready: Service) -> None:
    for path, body, pointer in VALUES:
        with ready.untouched():
            answer = ready.client.post(path, json=body)
        assert code_of(answer) == (422, "field_invalid"), body
        assert pointers(answer) == [pointer]


RECIPES = [
    {"epochs": 6.0},
    {"epochs": True},
    {"learning_rate": "0.1"},
    {"mixing": True},
    {"augment": 1},
    {"method": ["vrlwf"]},
    {"vocabulary_texts": "a text"},
]


def test_a_recipe_takes_no_value_of_another_json_type(ready: Service) -> None:
    for recipe in RECIPES:
        with ready.untouched():
            answer = ready.client.post("/v1/jobs", json=update(recipe=recipe))
        assert code_of(answer) == (422, "recipe_invalid"), recipe
        assert pointers(answer) == [f"/recipe/{next(iter(recipe))}"]


TWICE = '{"name": "p", "parent_tolerance": 0, "parent_tolerance": 1}'


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("/v1/gate-policies", TWICE, "parent_tolerance"),
        ("/v1/jobs", json.dumps(update())[:-1] + ', "metadata": {"a": "1", "a": "2"}}', "a"),
    ],
    ids=["in the body", "within a field"],
)
def test_a_field_that_is_there_twice_is_refused(
    ready: Service, path: str, text: str, name: str
) -> None:
    headers = {"Content-Type": "application/json"}
    with ready.untouched():
        answer = ready.client.post(path, content=text, headers=headers)
    assert code_of(answer) == (422, "field_invalid")
    assert repr(name) in answer.json()["detail"]


def test_a_field_that_is_there_twice_in_a_forms_json_is_refused(ready: Service) -> None:
    files = [("cat", (f"{seed}.png", picture(seed))) for seed in range(4)]
    recipe = {"recipe": '{"epochs": 1, "epochs": 2}'}
    with ready.untouched():
        answer = ready.client.post("/v1/models/demo/classes", data=recipe, files=files)
    assert code_of(answer) == (422, "field_invalid")


def test_a_whole_number_is_a_number_and_a_choice_is_a_text(service: Service) -> None:
    body = {"name": "p", "parent_tolerance": 0, "root_tolerance": 1}
    assert service.client.post("/v1/gate-policies", json=body).status_code == 201
    body = {"name": "talk", "kind": "captioned"}
    assert service.client.post("/v1/datasets", json=body).json()["kind"] == "captioned"


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("recipe", '{"epochs": "6"}', "/recipe/epochs"),
        ("reference", '{"dataset": "d", "version": "1"}', "/reference"),
    ],
)
def test_json_in_a_form_is_read_as_strictly(
    ready: Service, field: str, value: str, pointer: str
) -> None:
    files = [("cat", (f"{seed}.png", picture(seed))) for seed in range(4)]
    with ready.untouched():
        answer = ready.client.post("/v1/models/demo/classes", data={field: value}, files=files)
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


def test_a_bad_text_in_a_forms_json_is_pointed_to(ready: Service) -> None:
    files = [("cat", (f"{seed}.png", picture(seed))) for seed in range(4)]
    texts = [
        ("recipe", r'{"vocabulary_texts": ["a", "\ud800"]}', "/recipe/vocabulary_texts/1"),
        ("recipe", "[" * 100, "/recipe"),
        ("reference", r'{"dataset": "\u0000", "version": 1}', "/reference/dataset"),
    ]
    for field, text, pointer in texts:
        with ready.untouched():
            answer = ready.client.post("/v1/models/demo/classes", data={field: text}, files=files)
        assert code_of(answer) == (422, "field_invalid")
        assert pointers(answer) == [pointer]


def test_a_large_order_is_read_as_a_small_one(ready: Service) -> None:
    texts = [f"a photo of the object with number {number}" for number in range(3000)]
    recipe = {"vocabulary": "file", "vocabulary_texts": texts}
    with ready.untouched():
        wrong = ready.client.post("/v1/jobs", json=update(recipe=recipe, dataset_version="1"))
        other = ready.client.post("/v1/jobs", json=update(recipe=recipe, type="other"))
        unknown = ready.client.post("/v1/jobs", json=update(recipe=recipe, wish=1))
    assert code_of(wrong) == (422, "field_invalid")
    assert pointers(wrong) == ["/dataset_version"]
    assert code_of(other) == (422, "field_invalid")
    assert code_of(unknown) == (422, "field_unknown")
    assert pointers(unknown) == ["/wish"]
    answer = ready.client.post("/v1/jobs", json=update(recipe=recipe, metadata={"a": "b"}))
    assert answer.status_code == 202
    assert answer.json()["metadata"] == {"a": "b"}
    with ready.platform.transactions(read_only=True) as work:
        job = work[Jobs].get(JobId(answer.json()["id"]))
    assert job.order.recipe.vocabulary_texts == tuple(texts)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        b'{"labels": [' + b"{}," * 20_000 + b"{}]}",
        b'{"name": ' + b"[" * 33 + b"]" * 33 + b"}",
        b'{"name": "a", "more": [' + b"1," * 200_000 + b"1]}",
    ],
    ids=["objects", "levels", "values"],
)
def test_json_beyond_the_bounds_is_refused(service: Service, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    with service.untouched():
        answer = service.client.post("/v1/datasets", content=body, headers=headers)
    assert code_of(answer) == (422, "field_invalid")
    assert answer.json()["detail"].startswith("The JSON has more than ")
    assert len(answer.content) < 1000


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
    "/v1/workers",
    "/v1/models/demo",
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
    known = ready.client.get("/v1/jobs?type=update&status=queued&limit=3&model=demo")
    assert known.status_code == 200


def test_a_query_parameter_is_not_known_to_a_post_either(ready: Service) -> None:
    with ready.untouched():
        answer = ready.client.post("/v1/gc?dry_run=true", json={})
        form = ready.client.post(
            "/v1/datasets/products/images?class=cat", files=[("cat", ("1.png", picture(99)))]
        )
    assert code_of(answer) == (422, "field_unknown")
    assert code_of(form) == (422, "field_unknown")


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


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_json_under_another_content_type_is_refused_as_such(service: Service, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    with service.untouched():
        answer = service.client.post("/v1/datasets", content=b'{"name": "cats"}', headers=headers)
    assert code_of(answer) == (415, "unsupported_media_type")
    assert "application/json" in answer.json()["detail"]


def test_json_sent_to_a_form_is_refused_as_such(ready: Service) -> None:
    answer = ready.client.post("/v1/datasets/products/images", json={"cat": "1.png"})
    assert code_of(answer) == (415, "unsupported_media_type")
    assert "multipart/form-data" in answer.json()["detail"]


def test_json_with_a_suffix_or_a_charset_is_json(service: Service) -> None:
    for number, kind in enumerate(["application/json; charset=utf-8", "application/x+json"]):
        body = json.dumps({"name": f"cats{number}"})
        answer = service.client.post("/v1/datasets", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 201


def test_a_body_that_may_be_left_out_needs_no_content_type(ready: Service) -> None:
    assert ready.client.post("/v1/datasets/products/versions").status_code == 201
