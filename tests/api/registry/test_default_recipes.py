"""The default recipe of a model fills what orders leave out, and an operator may set it."""

import json
from typing import Any

import pytest

from core.datasets.manifests import Side
from core.principal import Role
from tests.support.api.image_files import pictures_on
from tests.support.api.orders import update
from tests.support.api.seeds import a_root, with_parameters
from tests.support.api.service import Service, code_of

DEMO = "/v1/models/demo"
RATE = "learning_rate"
BASE = {RATE: 1e-5, "optimiser": "adamw", "replay_weight": 2.0}
UNSAFE = {RATE: 3e-4}  # that of small models


@pytest.fixture
def large(ready: Service) -> Service:
    """A service whose model is of the size of a ViT-B."""
    with_parameters(ready.platform, "demo", 150_000_000)
    return ready


def ordered(service: Service, **recipe: Any) -> dict[str, Any]:
    """The whole recipe of an update that is ordered with some fields of it."""
    answer = service.client.post("/v1/jobs", json=update(recipe=recipe))
    assert answer.status_code == 202, answer.text
    whole: dict[str, Any] = answer.json()["recipe"]
    return whole


def taught(service: Service, **fields: str) -> Any:
    """The answer to the call that teaches two classes."""
    images = pictures_on(Side.TRAIN, 15)[9:]
    files = [("ab"[n % 2], (f"{n}.png", image)) for n, image in enumerate(images)]
    return service.client.post(f"{DEMO}/classes", files=files, data=fields)


def findings(service: Service, **recipe: Any) -> dict[str, dict[str, Any]]:
    with service.untouched():
        answer = service.client.post("/v1/jobs/advice", json=update(recipe=recipe))
    assert answer.status_code == 200, answer.text
    return {one["code"]: one for one in answer.json()["findings"]}


def test_what_an_order_leaves_out_is_the_models_default(large: Service) -> None:
    shown = large.client.get(DEMO).json()["default_recipe"]
    assert (shown["name"], shown["fields"]) == ("base", BASE)
    assert "literature" in shown["source"]
    assert ordered(large).items() >= BASE.items()
    few = ordered(large, epochs=3)
    assert (few["epochs"], few[RATE], few["batch_size"]) == (3, 1e-5, 100)
    assert ordered(large, **{RATE: 2e-5})[RATE] == 2e-5
    released = ordered(large, preset="released")
    assert (released[RATE], released["optimiser"]) == (1e-6, "adam")
    started = taught(large, recipe=json.dumps({"epochs": 2}))
    assert started.json()["job"]["recipe"].items() >= {**BASE, "epochs": 2}.items()
    found = findings(large)["default_recipe"]
    assert (found["severity"], found["facts"]) == ("info", shown)


def test_a_rate_far_above_the_default_is_refused_unless_it_is_forced(large: Service) -> None:
    order = update(recipe=UNSAFE)
    with large.untouched():
        refused = large.client.post("/v1/jobs", json=order)
        thawed = large.client.post("/v1/jobs", json=order | {"dataset_version": None})
        form = taught(large, recipe=json.dumps(UNSAFE))
        odd = taught(large, recipe=json.dumps(UNSAFE), force="yes")
    for answer in (refused, thawed, form):
        assert code_of(answer) == (422, "recipe_unsafe")
        assert answer.json()["errors"][0]["pointer"] == "/recipe/learning_rate"
        assert answer.json()["facts"] == {RATE: 3e-4, "default": 1e-5}
        assert '"force": true' in answer.json()["detail"]
    assert code_of(odd) == (422, "field_invalid")
    assert "recipe_unsafe" not in findings(large)
    warning = findings(large, **UNSAFE)["recipe_unsafe"]
    assert (warning["severity"], "1e-05" in warning["message"]) == ("warning", True)
    assert taught(large, recipe=json.dumps(UNSAFE), force="true").status_code == 202
    forced = large.client.post("/v1/jobs", json=order | {"force": True})
    assert forced.json()["recipe"][RATE] == 3e-4
    large.client.post(forced.json()["links"]["cancel"])
    again = large.client.post(f"{forced.json()['links']['self']}/retry")
    assert (again.status_code, again.json()["recipe"][RATE]) == (202, 3e-4)
    assert ordered(large, **{RATE: 1e-4})[RATE] == 1e-4


def test_an_operator_sets_and_clears_a_default_recipe_and_nothing_else(large: Service) -> None:
    a_root(large.platform, "other")
    operator, client = large.key(Role.OPERATOR), large.client
    own = {RATE: 3e-6, "epochs": 4}

    def change(key: dict[str, str], **body: Any) -> Any:
        return client.patch(DEMO, json=body, headers=key)

    for key in (large.key(Role.CONTRIBUTOR), large.key(Role.VIEWER)):
        with large.untouched():
            assert code_of(change(key, default_recipe=own)) == (403, "forbidden")
    of_another = large.key(Role.OPERATOR, "other")
    with large.untouched():
        foreign = change(of_another, default_recipe=own)
        assert code_of(foreign) == (404, "model_not_found")
        for judges in ({"suites": []}, {"policy": "default"}, {"suites": [], "policy": "default"}):
            refused = change(operator, default_recipe=own, reason="mine", **judges)
            assert code_of(refused) == (403, "forbidden")
    changed = change(operator, default_recipe=own, reason="tuned on our shelf").json()
    assert changed["default_recipe"]["name"] == "own"
    assert changed["default_recipe"]["fields"] == BASE | own
    assert client.get(DEMO).json() == changed
    assert client.get("/v1/models").json()["data"][0] == changed
    whole = ordered(large, epochs=5)
    assert (whole[RATE], whole["epochs"], whole["optimiser"]) == (3e-6, 5, "adamw")
    refused = client.post("/v1/jobs", json=update(recipe={RATE: 1e-4}))
    assert (code_of(refused), refused.json()["facts"]["default"]) == ((422, "recipe_unsafe"), 3e-6)
    with large.untouched():
        assert change(operator, default_recipe=own).json() == changed
        assert change(operator).json() == changed
    cleared = change(operator, default_recipe=None).json()
    assert cleared["default_recipe"]["fields"] == BASE
    assert ordered(large)[RATE] == 1e-5
    events = client.get("/v1/audit-events?action=default_recipe.changed").json()["data"]
    assert [(e["from"], e["to"], e["reason"]) for e in events] == [
        (BASE | own, {}, ""),
        ({}, BASE | own, "tuned on our shelf"),
    ]


def test_a_default_that_the_model_cannot_follow_is_refused_and_nothing_changes(
    service: Service,
) -> None:
    resnet = {"vision_cfg": {"layers": [3, 4, 6, 3]}, "text_cfg": {"context_length": 32}}
    a_root(service.platform, "demo", resnet)
    with_parameters(service.platform, "demo", 100_000_000)
    for recipe, code, pointer in (
        ({"epochs": 0}, "recipe_invalid", "/epochs"),
        ({"epoch": 1}, "recipe_invalid", "/epoch"),
        ({"preset": "best"}, "recipe_invalid", "/preset"),
        (
            {"vocabulary": "file", "vocabulary_texts": ["a", "b"]},
            "recipe_invalid",
            "/vocabulary_texts",
        ),
        ({"gradient_checkpointing": True}, "model_not_trainable", "/gradient_checkpointing"),
        ({"sentence_length": 33}, "model_not_trainable", "/sentence_length"),
        (UNSAFE, "recipe_unsafe", "/learning_rate"),
        ({"preset": "vit_l_14_24gb"}, "model_not_trainable", "/gradient_checkpointing"),
    ):
        with service.untouched():
            answer = service.client.patch(DEMO, json={"default_recipe": recipe})
        assert code_of(answer) == (422, code), recipe
        at = answer.json()["errors"][0]["pointer"]
        assert at == f"/default_recipe{pointer}", recipe
    forced = service.client.patch(DEMO, json={"default_recipe": UNSAFE, "force": True}).json()
    assert forced["default_recipe"]["fields"] == BASE | UNSAFE
    made = service.client.post("/v1/models", json={"name": "new"})
    assert made.status_code == 202, made.text
    assert service.client.get("/v1/models/new").json()["default_recipe"] is None
    with service.untouched():
        early = service.client.patch("/v1/models/new", json={"default_recipe": {"epochs": 2}})
    assert code_of(early) == (409, "conflict")
