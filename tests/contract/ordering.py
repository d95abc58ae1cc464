"""What tests of orders share: a model that may be taught and scored, and who asks."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from core.domain.dataset import DatasetVersion
from core.domain.recipe import Recipe
from core.domain.update import Job, UpdateOrder
from core.domain.version import Model
from core.use_cases.jobs import Request
from core.use_cases.suites import configure_model, create_policy
from tests.api.seeds import a_candidate
from tests.contract.scene import Scene
from tests.factories import NOW, a_policy
from tests.silence import Bell

ME = Request(actor="me")


def a_teachable_model(scene: Scene) -> Model:
    """A model with a root, a version that learned two classes, a suite and a policy of its own."""
    model = scene.model()
    a_candidate(scene.platform, model, teaches=("cat", "dog"))
    scene.suite(model, scene.frozen("sun", "sky", offset=80), "kept")
    policy = create_policy(scene.platform, a_policy())
    configure_model(scene.platform, model.name, suites=None, policy=policy.name)
    return named(scene, model.name)


def named(scene: Scene, name: str) -> Model:
    """The model of a name as it is now."""
    with scene.platform.transactions(read_only=True) as work:
        return work.models.get(name)


def an_order(data: DatasetVersion, **changes: Any) -> UpdateOrder:
    """The order to teach a dataset version."""
    made = UpdateOrder(dataset=data.dataset, dataset_version=data.number, recipe=Recipe())
    return replace(made, **changes)


def is_queued_and_announced(
    scene: Scene, bell: Bell, job: Job, log: pytest.LogCaptureFixture
) -> None:
    """Check a new job against the database, the bell of its queue and the log."""
    assert scene.job(job) == job
    (event,) = scene.events(job)
    assert (event.kind, event.data, event.at) == ("queued", {}, NOW)
    assert bell.rung == [(job.id, job.type.queue)]
    (line,) = [line for line in log.records if line.name == "core.use_cases.jobs"]
    assert (line.levelno, line.getMessage()) == (logging.INFO, "job queued")
    assert (vars(line)["job"], vars(line)["type"]) == (job.id, job.type.value)
