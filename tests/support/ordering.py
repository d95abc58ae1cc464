"""A model that may be taught and scored, orders for it, and who orders."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from core.datasets.rules import DatasetVersion
from core.gate.policies import create_policy
from core.gate.rows import Policies
from core.jobs.orders import UpdateOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import Job
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.rows import Models
from core.registry.versions import Model
from tests.support.api.seeds import a_candidate
from tests.support.factories import NOW, TESTER, a_model, a_policy
from tests.support.notifiers import RecordingNotifier
from tests.support.scene import Scene

ME = JobRequest(principal=TESTER)


def a_teachable_model(scene: Scene) -> Model:
    """A model with a root, a version that learned two classes, a suite and a policy of its own."""
    model = scene.model()
    a_candidate(scene.platform, model, teaches=("cat", "dog"))
    scene.suite(model, scene.frozen("sun", "sky", offset=80), "kept")
    policy = create_policy(scene.platform, a_policy(reason="a test"))
    configure_model(scene.platform, model.name, suites=None, policy=policy.name, reason="a test")
    return named(scene, model.name)


def an_unimported_model(scene: Scene, name: str = "demo") -> Model:
    """A model without versions."""
    with scene.platform.transactions() as work:
        model = a_model(work[Policies].get("default"), name=name)
        work[Models].add(model)
        work.commit()
    return model


def named(scene: Scene, name: str) -> Model:
    with scene.platform.transactions(read_only=True) as work:
        return work[Models].get(name)


def an_order(data: DatasetVersion, **changes: Any) -> UpdateOrder:
    made = UpdateOrder(dataset=data.dataset, dataset_version=data.number, recipe=Recipe())
    return replace(made, **changes)


def is_queued_and_announced(
    scene: Scene, notifier: RecordingNotifier, job: Job, log: pytest.LogCaptureFixture
) -> None:
    """Check a new job against the database, the notifier of its queue and the log."""
    assert scene.job(job) == job
    (event,) = scene.events(job)
    assert (event.kind, event.data, event.at) == ("queued", {}, NOW)
    assert notifier.notified == [(job.id, job.type.queue)]
    (line,) = [line for line in log.records if line.name == "core.jobs.queue"]
    assert (line.levelno, line.getMessage()) == (logging.INFO, "job queued")
    assert (vars(line)["job"], vars(line)["type"]) == (job.id, job.type.value)
