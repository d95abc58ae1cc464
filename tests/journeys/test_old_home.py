"""A home that a past release left when it was killed is opened by this one.

tests/support/old_home says what it holds and how it was made.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.requests import ImageFile
from perennial.types.models import Event
from tests.support.api.image_files import picture
from tests.support.old_home.opened import (
    EXPECTED,
    INTERRUPTED,
    MODEL,
    Home,
    assert_digest,
    assert_same_weights,
    opened,
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with opened(tmp_path) as home:
        yield home


def test_all_that_it_holds_is_read(home: Home, tmp_path: Path) -> None:
    client = home.client
    (model,) = client.models.list()
    assert (model["name"], model["suites"], model["policy"]) == (MODEL, ["shades"], "lenient")
    assert {row["name"] for row in client.policies.list()} == {"default", "lenient"}
    assert [(row["name"], row["images"]) for row in client.suites.list()] == [("shades", 12)]
    assert [row["name"] for row in client.datasets.list()] == ["colours", "shades"]
    (colours,) = client.datasets.versions("colours")
    assert (colours["images"], colours["classes"]) == (42, ["blue", "green", "red"])
    assert len(list(client.jobs.list())) == 4

    versions = list(client.versions.list(MODEL))
    assert [row["digest"] for row in versions] == EXPECTED["versions"]
    assert [(row["parent"], row["status"]) for row in versions] == [
        (None, "promoted"),
        (1, "promoted"),
        (2, "promoted"),
    ]
    assert client.aliases.get(MODEL)["version"] == 3
    learned = client.models.classes(MODEL)["data"]
    assert {row["class"] for row in learned} == {"red", "green", "blue"}
    for row in versions:
        assert len(home.state(row)) > 20
        client.versions.download(MODEL, row["version"], to=tmp_path / f"{row['version']}.tar")
    for row in versions[1:]:
        report = client.versions.report(MODEL, row["version"])
        assert (report["digest"], report["verdict"]) == (row["digest"], row["verdict"])
        assert "<svg" in client.versions.report_page(MODEL, row["version"])


def test_its_interrupted_update_goes_on_from_the_checkpoint(home: Home) -> None:
    job = home.client.jobs.get(INTERRUPTED)
    before = list(home.client.jobs.events(INTERRUPTED))
    kept = [event["data"]["step"] for event in before if event["kind"] == "checkpoint"][-1]
    assert (job["status"], job["phase"]) == ("running", "training")
    assert 0 < kept < job["progress"]["total"]

    home.work()
    after = list(home.client.jobs.events(INTERRUPTED))[len(before) :]
    assert after[0]["kind"] == "claimed"
    assert first_step(after) == kept + 1

    resumed = home.made_by(INTERRUPTED)
    assert home.client.versions.report(MODEL, resumed["version"])["digest"] == resumed["digest"]
    assert "<svg" in home.client.versions.report_page(MODEL, resumed["version"])
    assert_digest(resumed, EXPECTED["interrupted"]["digest"])
    assert_same_weights(home, resumed, home.order_again(resumed))


def test_an_update_that_it_made_has_the_same_digest_again(home: Home) -> None:
    home.client.jobs.cancel(INTERRUPTED)  # it is the model's next job
    third = home.client.versions.get(MODEL, 3)
    again = home.order_again(third)
    assert home.client.jobs.get(INTERRUPTED)["status"] == "cancelled"
    assert_digest(again, third["digest"])
    assert_same_weights(home, third, again)


def test_its_alias_rolls_back_and_serves_the_version_it_names(home: Home) -> None:
    home.client.aliases.roll_back(MODEL, to=1, reason="it was better")
    history = home.client.aliases.history(MODEL)
    moves = [(row["kind"], row["to_version"]) for row in history]
    assert moves == [("created", 1), ("promoted", 2), ("promoted", 3), ("rolled_back", 1)]
    image = ImageFile(file_name="red.png", data=picture(1))
    served = home.client.classify(MODEL, [image], ["red", "blue"])
    assert (served["version"], served["digest"]) == (1, EXPECTED["versions"][0])
    (answer,) = served["data"]
    assert {row["class"] for row in answer["predictions"]} == {"red", "blue"}


def first_step(events: list[Event]) -> int:
    """Return the first step that these events report of training."""
    steps = (event["data"]["step"] for event in events if event["data"].get("phase") == "training")
    return int(next(steps))
