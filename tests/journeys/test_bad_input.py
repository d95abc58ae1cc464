"""Bad input through the API to a real trainer: named when ordered, or as the job's error."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from core.job_types.run import run_next_job
from tests.support.api.orders import a_dataset, update
from tests.support.api.service import Service, code_of, running, settings_of
from tests.support.learning.tiny_clip import tiny_clip
from worker.tools import build_tools

SHORT = {"epochs": 2, "batch_size": 4, "sentences": 4, "sentence_length": 6}


@pytest.fixture
def service(tmp_path: Path, back_end: str) -> Iterator[Service]:
    """A service with the model `demo`, a minuscule CLIP that reads 16 tokens."""
    base, clip = tmp_path / "base", tiny_clip(seed=3)
    base.mkdir()
    (base / "open_clip_config.json").write_text(json.dumps(clip.config))
    save_file(clip.network.state_dict(), base / "open_clip_model.safetensors")
    settings = settings_of(
        tmp_path / "home", root_folders=(tmp_path,), migrate_on_start=True, threads=1
    )
    with running(settings) as found:
        found.client.post("/v1/models", json={"name": "demo", "base": str(base)})
        work(found)
        yield found


def work(service: Service) -> None:
    """Run the next job as a worker would."""
    tools = build_tools(service.platform)
    run_next_job(service.platform, tools, owner="w", stopping=lambda: False)


def ended(service: Service, **recipe: Any) -> dict[str, Any]:
    """An update of `products`, ordered over HTTP and run."""
    answer = service.client.post("/v1/jobs", json=update(recipe=SHORT | recipe))
    assert answer.status_code == 202, answer.text
    work(service)
    job: dict[str, Any] = service.client.get(answer.headers["location"]).json()
    return job


def require_nothing_left(service: Service) -> None:
    """No version came of it, and no checkpoint stayed."""
    assert code_of(service.client.get("/v1/models/demo/versions/2")) == (404, "version_not_found")
    live = service.client.get("/v1/models/demo/aliases/production").json()
    assert live["version"] == 1


def test_the_update_that_the_others_differ_from_succeeds(service: Service) -> None:
    a_dataset(service, "products", boot=0, bag=3)
    assert ended(service)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("name", "code", "facts"),
    [
        ("&lt;end_of_text&gt;", "class_invalid", {}),
        ("a boot " * 12, "prompt_too_long", {"tokens": 14}),
    ],
)
def test_name_that_the_model_cannot_read_fails_before_the_first_step(
    service: Service, name: str, code: str, facts: dict[str, Any]
) -> None:
    a_dataset(service, "products", **{name.strip(): 0, "bag": 3})
    job = ended(service)
    assert (job["status"], job["progress"]["step"]) == ("failed", 0)
    error = {key: job["error"][key] for key in ("code", "classes", *facts)}
    assert error == {"code": code, "classes": [name.strip()], **facts}
    require_nothing_left(service)


def test_recipe_that_diverges_stops_with_the_step_and_the_last_good_numbers(
    service: Service,
) -> None:
    a_dataset(service, "products", boot=0, bag=3)
    job = ended(
        service,
        learning_rate=1.0,
        schedule="constant",
        epochs=1000,
        replay_weight=1000,
        precision="fp16",
        augment=False,
    )
    assert (job["status"], job["error"]["code"]) == ("failed", "training_diverged")
    assert 0 < job["error"]["step"] < 1000
    assert job["error"]["terms"].keys() >= {"loss", "ce", "vr", "scale"}
    assert all(map(math.isfinite, job["error"]["terms"].values()))
    require_nothing_left(service)
