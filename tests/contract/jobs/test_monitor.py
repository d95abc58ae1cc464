"""The monitor of a running job: what it writes, and when it stops the job."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from core.errors import CancelRequested, DatabaseUnavailable, LeaseLost, StopRequested
from core.jobs.monitor import JobMonitor
from core.jobs.queue import cancel_job
from core.jobs.rows import Jobs
from core.jobs.rules import Job
from core.values import Json
from tests.support.claims import claim, lose_lease
from tests.support.factories import NOW, digest
from tests.support.scene import Scene

SHORT_LEASE_S, LEASE_S = 20.0, 60.0  # as a test leaves it; as the settings have it


class Watched:
    """A claimed update and the eye on it, at a time of the test's own."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr("core.jobs.monitor.time", clock)
        scene.update(scene.model(), scene.frozen("cat", "dog"))
        self.scene, self.job = scene, claim(scene.platform.transactions, lease_s=SHORT_LEASE_S)
        self.eye = JobMonitor(scene.platform, self.job, stopping=lambda: scene.stopping)

    @property
    def stored(self) -> Job:
        """The job as everybody sees it."""
        return self.scene.job(self.job)

    @property
    def told(self) -> list[tuple[str, Json]]:
        """The job's history."""
        events = self.scene.events(self.job)
        assert all(event.at == NOW for event in events)
        return [(event.kind, event.data) for event in events]

    def is_renewed(self) -> bool:
        """Return whether the lease was renewed, and shorten it again."""
        with self.scene.platform.transactions() as work:
            (held,) = work[Jobs].held("w")
            work[Jobs].renew(self.job.id, self.job.fence, SHORT_LEASE_S)
            work.commit()
        assert held.lease_s <= LEASE_S
        return held.lease_s > LEASE_S - 10


@pytest.fixture
def watched(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(scene, monkeypatch)


def test_progress_and_lease_are_written_at_most_every_half_second(watched: Watched) -> None:
    for at, step, written in (
        (1000.0, 0, True),  # a phase begins
        (1000.25, 1, False),
        (1000.5, 2, True),
        (1000.75, 3, False),
        (1000.875, 4, False),
        (1001.0, 5, True),
    ):
        watched.now = at
        watched.eye.advance("training", step, 10, {"loss": step / 2})
        assert watched.is_renewed() is written, at
        assert (watched.stored.progress.step == step) is written, at
    progress = watched.stored.progress
    assert (watched.stored.phase, progress.step, progress.total) == ("training", 5, 10)
    assert progress.terms == {"loss": 2.5}


def test_the_beginning_of_a_phase_and_its_last_step_are_written_at_once(watched: Watched) -> None:
    for phase, step in (("loading", 0), ("training", 0), ("training", 9), ("training", 10)):
        watched.eye.advance(phase, step, 10)
        assert watched.is_renewed() is (step != 9)
    assert (watched.stored.phase, watched.stored.progress.step) == ("training", 10)


def test_history_has_each_phase_its_end_and_a_line_every_five_seconds(watched: Watched) -> None:
    for at, step in ((0, 0), (4.5, 1), (5, 2), (9.5, 3), (10, 4), (10.5, 8), (11, 9)):
        watched.now = 1000.0 + at
        watched.eye.advance("training", step, 9, {"loss": 0.5})
    watched.eye.advance("evaluating", 1, 3)
    assert watched.told == [
        ("phase", {"phase": "training", "step": 0, "total": 9, "loss": 0.5}),
        ("progress", {"phase": "training", "step": 2, "total": 9, "loss": 0.5}),
        ("progress", {"phase": "training", "step": 4, "total": 9, "loss": 0.5}),
        ("progress", {"phase": "training", "step": 9, "total": 9, "loss": 0.5}),
        ("phase", {"phase": "evaluating", "step": 1, "total": 3}),
    ]


def test_a_last_step_that_is_reported_again_is_written_once(watched: Watched) -> None:
    for again in range(3):
        watched.eye.advance("loading", 10, 10)
        assert watched.is_renewed() is (again == 0)
    assert watched.told == [("phase", {"phase": "loading", "step": 10, "total": 10})]
    watched.eye.advance("loading", 0, 10)  # another model is loaded
    for again in range(3):
        watched.eye.advance("loading", 10, 10)
        assert watched.is_renewed() is (again == 0)
    assert len(watched.told) == 2


def test_time_left_is_told_by_the_steps_since_the_phase_began(watched: Watched) -> None:
    for at, step, left in (
        (0, 4, None),  # resumed from a checkpoint: nobody knows yet
        (3, 4, None),
        (10, 5, 50.0),  # one step in ten seconds, five more to come
        (20, 7, 20.0),  # three steps in 20 seconds, three more to come
        (40, 9, 8.0),  # five steps in 40 seconds
        (41, 10, None),
    ):
        watched.now = 1000.0 + at
        watched.eye.advance("training", step, 10)
        assert watched.stored.progress.eta_s == left
    for at, step, left in (
        (50, 0, None),
        (60, 3, 66.7),  # 20 of 23 steps in 200 / 3 seconds
        (70, 0, None),  # another version is asked
        (75, 3, 33.3),
    ):
        watched.now = 1000.0 + at
        watched.eye.advance("evaluating", step, 23)
        assert watched.stored.progress.eta_s == left


def test_each_phase_is_counted_with_its_seconds_once_it_is_over(watched: Watched) -> None:
    watched.eye.end()  # nothing has begun
    assert watched.scene.phase_seconds() == {}
    for at, phase, step in ((0, "loading", 0), (2, "loading", 1), (3, "training", 0)):
        watched.now = 1000.0 + at
        watched.eye.advance(phase, step, 5)
    assert watched.scene.phase_seconds() == {"loading": 3.0}
    watched.now = 1010.0
    watched.eye.advance("training", 5, 5)
    watched.now = 1012.5
    watched.eye.end()
    assert watched.scene.phase_seconds() == {"loading": 3.0, "training": 9.5}


def test_the_last_phase_goes_uncounted_when_the_database_is_away(watched: Watched) -> None:
    watched.eye.advance("training", 0, 5)
    away = Mock(side_effect=DatabaseUnavailable)
    object.__setattr__(watched.scene.platform, "transactions", away)
    watched.eye.end()


@pytest.mark.parametrize("later_s", [0.25, 0.5], ids=["that writes nothing", "that is written"])
def test_a_step_stops_a_job_that_is_cancelled_or_lost(watched: Watched, later_s: float) -> None:
    watched.eye.advance("training", 0, 10)
    cancel_job(watched.scene.platform, watched.job.id)
    watched.now += later_s
    with pytest.raises(CancelRequested):
        watched.eye.advance("training", 1, 10)
    lose_lease(watched.scene)
    watched.now += later_s
    with pytest.raises(LeaseLost):
        watched.eye.advance("training", 2, 10)


def test_steps_that_follow_within_100_ms_are_not_asked_for_each(watched: Watched) -> None:
    watched.eye.advance("unpacking", 0, 10)
    cancel_job(watched.scene.platform, watched.job.id)
    watched.now += 0.0625
    watched.eye.advance("unpacking", 1, 10)
    watched.now += 0.0625
    with pytest.raises(CancelRequested):
        watched.eye.advance("unpacking", 2, 10)


def test_a_worker_that_stops_does_so_at_the_next_step_or_in_training_at_its_checkpoint(
    watched: Watched,
) -> None:
    watched.eye.advance("loading", 0, 2)
    watched.scene.stopping = True
    with pytest.raises(StopRequested):
        watched.eye.advance("loading", 1, 2)
    watched.eye.advance("training", 0, 2)
    watched.eye.advance("training", 1, 2)
    assert watched.eye.checkpoint_due()
    with pytest.raises(StopRequested):
        watched.eye.save_checkpoint(digest("state"), 1)
    assert watched.stored.checkpoint == digest("state")


def test_a_checkpoint_is_due_an_interval_after_the_last_one(watched: Watched) -> None:
    keep: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: watched.eye.save_checkpoint(digest("state"), 7),
        lambda: watched.eye.skip_checkpoint(9, {}),
    )
    interval = watched.scene.platform.settings.checkpoint_seconds
    for kept in keep:
        kept()
        assert not watched.eye.checkpoint_due()
        watched.now += interval - 0.5
        assert not watched.eye.checkpoint_due()
        watched.now += 0.5
        assert watched.eye.checkpoint_due()


def test_a_checkpoint_that_is_kept_counts_and_is_in_the_history(watched: Watched) -> None:
    watched.eye.save_checkpoint(digest("state"), 7)
    assert watched.stored.checkpoint == digest("state")
    assert watched.told == [("checkpoint", {"step": 7})]


def test_a_checkpoint_that_is_skipped_is_in_history_and_log(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    room = {"needed_bytes": 7, "free_bytes": 3}
    watched.eye.skip_checkpoint(4, room)
    assert watched.told == [("checkpoint_skipped", {"step": 4, **room})]
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (
        logging.WARNING,
        "job event: checkpoint_skipped",
    )
    assert (vars(line)["step"], vars(line)["free_bytes"]) == (4, 3)
    watched.scene.stopping = True
    with pytest.raises(StopRequested):
        watched.eye.skip_checkpoint(5, room)
    assert watched.told[-1] == ("checkpoint_skipped", {"step": 5, **room})


def test_a_worker_that_lost_its_lease_keeps_and_tells_nothing(watched: Watched) -> None:
    lose_lease(watched.scene)
    with pytest.raises(LeaseLost):
        watched.eye.save_checkpoint(digest("state"), 7)
    with pytest.raises(LeaseLost):
        watched.eye.skip_checkpoint(7, {})
    with pytest.raises(LeaseLost):
        watched.eye.moved(1)
    assert (watched.stored.checkpoint, watched.told) == (None, [])


def test_moving_bytes_renew_the_lease_at_most_every_half_second(watched: Watched) -> None:
    watched.eye.moved(1)
    assert watched.is_renewed()
    for at, renewed in ((0.25, False), (0.5, True), (0.875, False), (1.0, True)):
        watched.now = 1000.0 + at
        watched.eye.moved(1)
        assert watched.is_renewed() is renewed, at
    watched.now = 1002.0
    watched.eye.advance("training", 0, 10)
    assert watched.is_renewed()
    watched.now = 1002.5
    watched.eye.moved(1)
    watched.eye.advance("training", 1, 10)
    assert (watched.is_renewed(), watched.stored.progress.step) == (True, 1)
    watched.now = 1002.75
    watched.eye.moved(1)
    assert not watched.is_renewed()
    assert (watched.stored.phase, watched.told[1:]) == ("training", [])


def test_moving_bytes_stop_for_a_cancellation_but_not_for_a_stop(watched: Watched) -> None:
    watched.scene.stopping = True
    watched.eye.moved(1)
    cancel_job(watched.scene.platform, watched.job.id)
    watched.now += 0.25
    watched.eye.moved(1)
    watched.now += 0.25
    with pytest.raises(CancelRequested):
        watched.eye.moved(1)
    assert watched.is_renewed()
