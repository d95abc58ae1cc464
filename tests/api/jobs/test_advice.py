"""Advice: what it says of an order, what it refuses, and that it leaves nothing behind."""

from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from core.datasets.rows import Datasets
from core.settings import Settings
from tests.support.api.oracle import Oracle, settings_with
from tests.support.api.orders import a_dataset, update
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
        "default_recipe",
        "duration_unknown",
    ]
    needs_images = advice["findings"][5]
    assert needs_images["severity"] == "warning"
    assert needs_images["message"].startswith(
        "To show a gain of 25.0 points (half of the parent's errors)"
    )
    assert needs_images["facts"]["needed"] == 23  # by the error of a gain
    assert oracle.requests == [6]
    assert ready.messages() == 0


def test_a_parent_that_cannot_be_asked_leaves_the_rest_of_the_advice(
    ready: Service, oracle: Oracle
) -> None:
    def unknown(**changes: Any) -> str:
        advice = advise(ready, **changes)
        for row in advice["classes"]:
            assert (row["asked"], row["recognised"]) == (None, None)
        assert {"images", "holdout_small", "no_guard", "duration_unknown"} < set(codes(advice))
        [found] = [one for one in advice["findings"] if one["code"] == "zero_shot_unknown"]
        return str(found["facts"]["reason"])

    oracle.answer = Response("oops", 500)
    assert unknown() == "The inference process returned 500."
    with ready.platform.transactions(read_only=True) as work:
        first, *_ = work[Datasets].images(work[Datasets].get("products").id)
    ready.platform.artifacts.delete(first.image.artifact)
    assert unknown() == "The artifact is not in the store."
    ready.client.post("/v1/models", json={"name": "new", "base": "bundled"})
    assert unknown(model="new") == "The model's root is still being imported."
    assert len(oracle.requests) == 1


REFUSED = [
    {"model": "nope"},
    {"dataset": "single"},
    {"recipe": {"method": "zscl"}},
    {"dry_run": True},
]


def test_an_order_that_could_not_start_is_refused_with_the_same_error(
    ready: Service, oracle: Oracle
) -> None:
    a_dataset(ready, "single", hat=6)
    for changes in REFUSED:
        with ready.untouched():
            advised, ordered = (
                ready.client.post(path, json=update(**changes)) for path in (ADVICE, "/v1/jobs")
            )
        assert code_of(advised) == code_of(ordered), changes
        assert advised.json() | {"request_id": ""} == ordered.json() | {"request_id": ""}
    assert oracle.requests == []
