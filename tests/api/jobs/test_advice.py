"""Advice: what it says of an order, what it refuses, and that it leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.registry.rows import Models
from core.settings import Settings
from tests.support.api.image_files import pictures_on
from tests.support.api.oracle import Oracle, settings_with
from tests.support.api.orders import a_dataset, update
from tests.support.api.seeds import a_candidate
from tests.support.api.service import Service, code_of

ADVICE = "/v1/jobs/advice"


@pytest.fixture
def settings(home: Path, oracle: Oracle) -> Settings:
    return settings_with(oracle, home)


def advise(service: Service, **changes: Any) -> dict[str, Any]:
    """The advice on an order, which leaves no row and no file behind."""
    with service.untouched():
        answer = service.client.post(ADVICE, json=update(**changes))
    assert answer.status_code == 200, answer.text
    advice: dict[str, Any] = answer.json()
    return advice


def codes(advice: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in advice["findings"]]


def test_an_order_is_advised_on(ready: Service, oracle: Oracle) -> None:
    advice = advise(ready, recipe={"epochs": 3, "batch_size": 2})
    dataset = ready.client.get("/v1/datasets/products").json()
    assert (advice["model"], advice["parent_version"]) == ("demo", 1)
    assert advice["dataset_version"] == {"dataset": dataset["id"], "version": 1}
    assert (advice["recipe"]["epochs"], advice["recipe"]["method"]) == (3, "vrlwf_replay")
    held = {"holdout": 0, "test": 0}
    assert advice["classes"] == [
        {"name": "bag", "train": 3, **held, "asked": 3, "recognised": 3},
        {"name": "boot", "train": 3, **held, "asked": 3, "recognised": 0},
    ]
    assert (advice["steps"], advice["expected_s"]) == (9, None)
    assert codes(advice) == [
        "images",
        "few_training_images",
        "no_test_images",
        "zero_shot",
        "class_known",
        "holdout_small",
        "no_guard",
        "duration_unknown",
    ]
    assert advice["findings"][5] == {
        "code": "holdout_small",
        "severity": "warning",
        "message": "A gain of 25.0 points (half of the parent's errors) needs 27 test images for a "
        "firm verdict, but the holdout has 0: "
        "add about 169 images to the dataset.",
        "facts": {"test_images": 0, "gain": 0.25, "needed": 27, "more_images": 169},
    }
    assert oracle.requests == [6]
    assert ready.messages() == 0


def test_all_classes_of_the_line_compete_with_the_orders_prompt(
    ready: Service, oracle: Oracle
) -> None:
    with ready.platform.transactions(read_only=True) as work:
        model = work[Models].get("demo")
    version = a_candidate(ready.platform, model, teaches=("Hat", "Boot"))
    advice = advise(ready, parent=2, prompt="one {name}")
    assert advice["parent_version"] == 2
    assert oracle.asked["prompts"] == ["one hat", "one boot", "one bag"]
    assert (oracle.asked["digest"], oracle.asked["top_k"]) == (version.digest, 1)
    [respelt] = [one for one in advice["findings"] if one["code"] == "class_differs_in_case"]
    assert respelt["facts"] == {"classes": {"boot": "Boot"}}


def test_classes_of_the_models_suites_are_named_and_small_suites_too(ready: Service) -> None:
    files = [
        (text, (f"{text}.png", image))
        for text, image in zip(("bag", "Boot"), pictures_on(Side.TRAIN, 2, 1000), strict=True)
    ]
    ready.client.post("/v1/datasets", json={"name": "shop"})
    ready.client.post("/v1/datasets/shop/images", files=files)
    ready.client.post("/v1/datasets/shop/versions")
    suite = {"name": "shop", "kind": "zero_shot", "dataset": "shop", "dataset_version": 1}
    assert ready.client.post("/v1/suites", json=suite).status_code == 201
    ready.client.patch("/v1/models/demo", json={"suites": ["shop"]})
    facts = {one["code"]: one["facts"] for one in advise(ready)["findings"]}
    assert facts["class_in_suite"] == {"suite": "shop", "classes": ["bag"]}
    assert facts["class_differs_in_case"] == {"suite": "shop", "classes": {"boot": "Boot"}}
    assert list(facts["advisory_measures"]["sets"]) == ["suite shop"]


ANSWERS = [
    (Response("oops", 500), "The inference process returned 500."),
    (JSONResponse({"code": "field_invalid", "message": "Too long."}, 422), "Too long."),
    (JSONResponse({"code": "artifact_missing", "message": "Gone."}, 404), "Gone."),
    (
        JSONResponse({"code": "inference_busy", "message": "no"}, 503),
        "The inference process is handling as many requests as it can: retry in a moment.",
    ),
]


def test_a_parent_that_cannot_be_asked_leaves_the_rest_of_the_advice(
    ready: Service, oracle: Oracle
) -> None:
    for answer, reason in ANSWERS:
        oracle.answer = answer
        advice = advise(ready)
        for row in advice["classes"]:
            assert (row["asked"], row["recognised"]) == (None, None)
        [unknown] = [one for one in advice["findings"] if one["code"] == "zero_shot_unknown"]
        assert unknown["facts"] == {"reason": reason}
        assert {"images", "holdout_small", "no_guard", "duration_unknown"} < set(codes(advice))


def test_an_image_that_is_lost_leaves_the_rest_of_the_advice(
    ready: Service, oracle: Oracle
) -> None:
    with ready.platform.transactions(read_only=True) as work:
        first, *_ = work[Datasets].images(work[Datasets].get("products").id)
    ready.platform.artifacts.delete(first.image.artifact)
    advice = advise(ready)
    [unknown] = [one for one in advice["findings"] if one["code"] == "zero_shot_unknown"]
    assert unknown["facts"] == {"reason": "The artifact is not in the store."}
    assert "holdout_small" in codes(advice)


def test_a_model_whose_root_is_still_imported_has_no_parent_to_ask(
    ready: Service, oracle: Oracle
) -> None:
    ready.client.post("/v1/models", json={"name": "new", "base": "bundled"})
    advice = advise(ready, model="new")
    assert advice["parent_version"] is None
    assert "zero_shot_unknown" in codes(advice)
    assert oracle.requests == []


REFUSED = [
    {"model": "nope"},
    {"dataset": "nope"},
    {"dataset_version": 2},
    {"dataset": "poor"},
    {"dataset": "single"},
    {"parent": 7},
    {"alias": "staging"},
    {"recipe": {"metod": "ft"}},
    {"recipe": {"method": "zscl"}},
    {"recipe": {"mixing_choice": "validation"}},
    {"prompt": "no slot"},
    {"priority": 10},
    {"dry_run": True},
]


def test_an_order_that_could_not_start_is_refused_with_the_same_error(
    ready: Service, oracle: Oracle
) -> None:
    a_dataset(ready, "single", hat=6)
    ready.client.post("/v1/datasets", json={"name": "poor"})
    ready.client.post(
        "/v1/datasets/poor/images", files=[("hat", ("a.png", pictures_on(Side.TRAIN, 9)[8]))]
    )
    ready.client.post("/v1/datasets/poor/versions")
    for changes in REFUSED:
        with ready.untouched():
            advised, ordered = (
                ready.client.post(path, json=update(**changes)) for path in (ADVICE, "/v1/jobs")
            )
        assert code_of(advised) == code_of(ordered), changes
        assert advised.json() | {"request_id": ""} == ordered.json() | {"request_id": ""}
    assert oracle.requests == []


def test_an_evaluation_is_not_advised_on(ready: Service) -> None:
    body = {"type": "evaluate", "model": "demo", "version": 1}
    assert code_of(ready.client.post(ADVICE, json=body))[0] == 422


def test_an_idempotency_key_is_free_after_advice(ready: Service) -> None:
    headers = {"Idempotency-Key": "k"}
    ready.client.post(ADVICE, json=update(), headers=headers)
    other = update(recipe={"epochs": 3})
    assert ready.client.post("/v1/jobs", json=other, headers=headers).status_code == 202
