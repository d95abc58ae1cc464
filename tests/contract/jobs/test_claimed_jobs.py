"""Claims: their event and log line, the waits that are counted, and a worker's settings."""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.errors import DatabaseUnavailable, StopRequested, TrainingDiverged
from core.job_types.run import run_next_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job, JobStatus, Monitor
from tests.support.factories import NOW
from tests.support.learning.training_jobs import raising, training
from tests.support.scene import Scene
from tests.support.tools import tools_of


def test_a_claim_is_in_history_and_log_with_its_attempt_and_owner(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="core.job_types")
    job = training(scene, then=raising(StopRequested()))
    for attempt in (1, 2):
        caplog.clear()
        scene.run()
        claims = [event for event in scene.events(job) if event.kind == "claimed"]
        assert (claims[-1].data, claims[-1].at) == ({"attempt": attempt, "owner": "w"}, NOW)
        assert len(claims) == attempt
        assert vars(caplog.records[0])["attempt"] == attempt


def test_only_the_wait_for_the_first_claim_is_counted(scene: Scene) -> None:
    training(scene, then=raising(StopRequested()))
    for waited_s in (90.0, 500.0):
        later = replace(scene.platform, clock=lambda s=waited_s: NOW + timedelta(seconds=s))
        run(scene, later)
        assert scene.phase_seconds()["queued"] == 90.0


def test_the_last_phase_is_counted_however_a_job_ends(scene: Scene) -> None:
    training(scene, then=raising(TrainingDiverged()))
    scene.run()
    assert scene.phase_seconds().keys() == {"queued", "training"}


def test_a_worker_claims_by_its_settings(scene: Scene) -> None:
    settings = scene.platform.settings
    deaf = settings.model_copy(update={"queues": ("housekeeping",)})
    short = settings.model_copy(update={"lease_seconds": 7.0, "lost_attempts": 1})
    held: list[float] = []

    def look(monitor: Monitor) -> None:
        with scene.platform.transactions(read_only=True) as work:
            held.extend(one.lease_s for one in work[Jobs].held("w"))
        raise DatabaseUnavailable

    scene.script.training = look
    job = scene.update(scene.model(), scene.frozen("cat", "dog"))
    assert run(scene, replace(scene.platform, settings=deaf)) is None
    assert run(scene, replace(scene.platform, settings=short)) is not None
    assert 6 < held[0] <= 7
    assert run(scene, replace(scene.platform, settings=short)) is None
    assert scene.job(job).status is JobStatus.FAILED


def run(scene: Scene, platform: Any) -> Job | None:
    """Have a worker of another platform look for a job."""
    tools = tools_of(scene.script)
    return run_next_job(platform, tools, owner="w", stopping=lambda: False)
