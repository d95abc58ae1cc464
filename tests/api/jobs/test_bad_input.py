"""Bad input to learning: each is told by name, when it is ordered or as the job's error."""

from typing import Any

import pytest

from core.datasets.manifests import Part, Side
from core.errors import ClassInvalid, PromptTooLong, TrainingDiverged
from core.job_types.run import run_next_job
from core.jobs.rules import Monitor
from tests.support.api.image_files import parts_of, picture, pictures_on
from tests.support.api.orders import update
from tests.support.api.service import Service, code_of
from tests.support.scene import Script
from tests.support.tools import tools_of

FACTS = [
    TrainingDiverged(step=41, terms={"loss": 0.61, "ce": 0.5}),
    PromptTooLong("The model reads 30 tokens of a prompt.", classes=["x y"], tokens=30),
    ClassInvalid("The model's tokenizer reads nothing in: '&nbsp;'.", classes=["&nbsp;"]),
]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.code)
def test_what_stops_training_is_the_jobs_error_with_all_its_facts(
    ready: Service, fact: Exception
) -> None:
    def stop(monitor: Monitor) -> None:
        monitor.advance("training", 41, 100, {"loss": float("nan")})
        raise fact

    script = Script(ready.platform, training=stop)
    tools = tools_of(script)
    path = ready.client.post("/v1/jobs", json=update()).headers["location"]
    run_next_job(ready.platform, tools, owner="w", stopping=lambda: False)
    job = ready.client.get(path).json()
    assert isinstance(fact, TrainingDiverged | PromptTooLong | ClassInvalid)
    assert (job["status"], job["result"]) == ("failed", None)
    assert job["error"] == {"code": fact.code, "message": fact.message, **fact.facts}
    assert job["progress"]["step"] == 41
    assert code_of(ready.client.get("/v1/models/demo/versions/2")) == (404, "version_not_found")


def test_one_image_a_class_is_refused_with_the_count_of_each(ready: Service) -> None:
    ready.client.post("/v1/datasets", json={"name": "poor"})
    images = pictures_on(Side.TRAIN, 9)[6:]
    files = [(f"class {n}", (f"{n}.png", image)) for n, image in enumerate(images)]
    ready.client.post("/v1/datasets/poor/images", files=files)
    ready.client.post("/v1/datasets/poor/versions")
    with ready.untouched():
        answer = ready.client.post("/v1/jobs", json=update(dataset="poor"))
    assert code_of(answer) == (422, "too_few_per_class")
    assert answer.json()["facts"] == {
        "classes": {"class 0": 1, "class 1": 1, "class 2": 1},
        "least": 2,
    }
    assert "fewer than 2 training images" in answer.json()["detail"]
    assert "class 0, class 1, class 2" in answer.json()["detail"]


def test_names_that_nobody_could_see_are_refused_and_emoji_are_taken(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "signs"})
    names = ["\u200b", "&nbsp;", "\u3164", "🙂", "👩‍🚀"]
    files = [(name, (f"{n}.png", picture(n))) for n, name in enumerate(names)]
    answer = service.client.post("/v1/datasets/signs/images", files=files).json()
    codes = [(row["error"] or {}).get("code") for row in answer["data"]]
    assert codes == ["class_invalid"] * 3 + [None] * 2


def test_class_that_update_and_suite_share_in_any_case_is_one_class(ready: Service) -> None:
    asked(ready, {"BOOT": picture(90), "Bag": picture(91), "sun": picture(92)})
    report = reported(ready, label_space="open")
    (row,) = [row for row in report["lists"] if row["role"] == "candidate"]
    assert (row["own_classes"], row["union_classes"]) == (3, 3)


def test_class_of_a_suite_without_a_test_image_competes_and_has_no_row(ready: Service) -> None:
    beyond = list(zip(pictures_on(Side.HOLDOUT, 60), parts_of(Side.HOLDOUT, 60), strict=True))
    tested = [image for image, part in beyond if part is Part.TEST]
    chosen = [image for image, part in beyond if part is Part.VALIDATION]
    asked(ready, {"moon": tested[0], "sun": tested[1], "star": chosen[0]})
    report = reported(ready)
    (row,) = [row for row in report["lists"] if row["role"] == "candidate"]
    assert (row["own_classes"], row["images"]) == (3, 2)
    (table,) = [table for table in report["changes"] if table["name"] == "asked"]
    assert sorted(change["class_name"] for change in table["classes"]) == ["moon", "sun"]


def asked(service: Service, images: dict[str, bytes]) -> None:
    """Make a suite of one image a class and have the model judged by it."""
    service.client.post("/v1/datasets", json={"name": "asked"})
    files = [(name, (f"{n}.png", image)) for n, (name, image) in enumerate(images.items())]
    service.client.post("/v1/datasets/asked/images", files=files)
    service.client.post("/v1/datasets/asked/versions")
    suite = {"name": "asked", "kind": "zero_shot", "dataset": "asked", "dataset_version": 1}
    assert service.client.post("/v1/suites", json=suite).status_code == 201
    service.client.patch("/v1/models/demo", json={"suites": ["asked"]})


def reported(service: Service, **recipe: Any) -> Any:
    """The report on an update."""
    script = Script(service.platform)
    tools = tools_of(script)
    service.client.post("/v1/jobs", json=update(recipe=recipe))
    run_next_job(service.platform, tools, owner="w", stopping=lambda: False)
    return service.client.get("/v1/models/demo/versions/2/forgetting").json()
