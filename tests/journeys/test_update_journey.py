"""The whole main job over HTTP, with real processes and the bundled model."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.images import PackImage, by_class, captioned, named
from demo.service import running_service
from demo.walkthrough import AMONG_ALL, EARLIER, NEW, accuracies, changes
from perennial.client import Client
from perennial.errors import ServiceError
from perennial.types import Job
from tests.support.second_gate.verdict import agrees

CLASSES = 4  # of an update

PER_CLASS = 60

PROMPT = "this is a photo of {name} ."

POLICY = {
    "name": "small",
    "parent_tolerance": 0.08,
    "root_tolerance": 0.08,
    "alpha": 0.05,
    "minimum_count": 50,
    "reason": "few images and a small model",
}

TAUGHT = {"method": "vrlwf", "epochs": 4, "batch_size": 32, "learning_rate": 1e-4, "seed": 1}

SECOND = {"epochs": 3, "seed": 0}  # the default recipe, half as long

SWALLOWING = {"method": "ft", "epochs": 4, "batch_size": 32, "learning_rate": 1e-3, "seed": 1}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """A client of a service that runs as a user would run it."""
    with running_service(tmp_path / "home") as service, service.client() as client:
        yield client


def test_a_model_learns_twice_is_judged_serves_and_is_rolled_back(client: Client) -> None:
    images = by_class("fashion_mnist", "train")
    names = sorted(images)
    taught, more = names[:CLASSES], names[CLASSES : 2 * CLASSES]
    make_suites(client)
    client.policies.create(**POLICY)
    client.jobs.wait(client.models.create("walk", suites=["emoji", "art"], policy="small")["id"])
    for dataset, classes in (("products", taught), ("more", more)):
        upload(client, dataset, "labelled", [i for one in classes for i in images[one][:PER_CLASS]])

    # It learns, the gate lets it pass, it goes live.
    done = update(client, TAUGHT)
    assert (done["result"]["version"], done["result"]["verdict"]) == (2, "passed")
    alias = client.aliases.get("walk")
    assert alias["version"] == 2
    report = client.versions.report("walk", 2)
    assert report["exact"]
    gain = next(measure for measure in report["measures"] if measure["kind"] == "gain")
    assert gain["difference"] > 0.2

    # What it learned is served, under the alias at once.
    unseen = [image for name in taught for image in images[name][-10:]]
    assert share_right(client, unseen, taught) > 0.5
    assert live_version(client, unseen[:1]) == 2

    # What shows none of the classes is told from what shows one, better than by chance.
    others = named("twemoji")[::48]
    own, foreign = (share_rejected(client, shown, taught) for shown in (unseen, others))
    assert own + 0.1 < foreign

    # A second update keeps what the first has taught.
    update(client, SECOND, dataset="more", parent=2, auto_promote=False)
    second = client.versions.report("walk", 3)
    kept = changes(second)[EARLIER]
    assert (kept["kind"], kept["baseline"]) == ("holdout", "parent and settled version")
    found = {name: after for name, _, after in accuracies(second)}
    assert found[f"{EARLIER}, 4 to choose from"] == kept["right"] / kept["count"] > 0.6
    among_all = changes(second)[AMONG_ALL]
    assert (among_all["asked"], among_all["classes"]) == ("union", 8)
    share = among_all["right"] / among_all["count"]
    assert found[f"{EARLIER}, 8 to choose from"] == share > 0.5
    assert found[f"{NEW}, 8 to choose from"] > 0.5

    # What newer classes swallow is refused, and production stays as it is.
    failed = update(client, SWALLOWING, dataset="more", parent=2)["result"]
    assert (failed["version"], failed["verdict"]) == (4, "failed")
    third = client.versions.report("walk", 4)
    lost = changes(third)
    assert lost[AMONG_ALL]["outcome"] == "fails"
    assert lost[AMONG_ALL]["difference"] < lost[EARLIER]["difference"] - 0.1
    swallowed = [row for row in third["taken"] if row["kind"] == "holdout"]
    assert swallowed[0]["newer"]
    assert swallowed[0]["answered"] in more
    with pytest.raises(ServiceError) as refusal:
        client.aliases.promote(
            "walk", 4, reason="try it anyway", expected_revision=alias["revision"]
        )
    assert (refusal.value.status, refusal.value.code) == (409, "gate_failed")
    assert live_version(client, unseen[:1]) == 2

    # The gate, written a second time, comes to the same verdicts from their evidence.
    given = [agrees(client.versions.evidence("walk", number)) for number in (2, 3, 4)]
    assert given == ["passed", second["verdict"], "failed"]

    # One call undoes it.
    client.aliases.roll_back("walk", reason="to show it")
    assert live_version(client, unseen[:1]) == 1


def make_suites(client: Client) -> None:
    """A zero-shot and a captioned suite of images that no update will see."""
    for name, kind, dataset_kind, images in (
        ("emoji", "zero_shot", "labelled", named("twemoji")[:300]),
        ("art", "retrieval", "captioned", captioned("openclipart")),
    ):
        upload(client, name, dataset_kind, images)
        client.suites.create(name, kind=kind, dataset=name, dataset_version=1, prompt=PROMPT)


def upload(client: Client, name: str, kind: str, images: list[PackImage]) -> None:
    """Put images into a new dataset and freeze it."""
    client.datasets.create(name, kind=kind)
    client.datasets.upload(name, ((image.text, image.file) for image in images))
    assert client.datasets.freeze(name)["images"] == len(images)


def update(client: Client, recipe: dict[str, Any], **order: Any) -> Job:
    """Order an update, of version 1 unless the order says otherwise; the job once it succeeded."""
    order = {"dataset": "products", "parent": 1} | order
    job = client.jobs.order_update(model="walk", dataset_version=1, recipe=recipe, **order)
    return client.jobs.wait(job["id"], every=0.3)


def share_right(client: Client, images: list[PackImage], classes: list[str]) -> float:
    """The share of images whose most probable class is theirs."""
    given = client.classify("walk", [image.file for image in images], classes)["data"]
    pairs = zip(given, images, strict=True)
    return sum(one["predictions"][0]["class"] == image.text for one, image in pairs) / len(images)


def share_rejected(client: Client, images: list[PackImage], classes: list[str]) -> float:
    """The share of images that are told to show none of the classes."""
    found = client.classify(
        "walk", [image.file for image in images], classes, prompt=PROMPT, none_of_these=0.1
    )
    return sum(bool(one["none_of_these"]) for one in found["data"]) / len(images)


def live_version(client: Client, images: list[PackImage]) -> int:
    """The version that answers for the bare name, and answers within a few seconds."""
    began = time.monotonic()
    answer = client.classify("walk", [image.file for image in images], ["bag"])
    assert time.monotonic() - began < 10
    return answer["version"]
