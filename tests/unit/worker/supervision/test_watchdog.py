"""When a child is left alone, asked to stop, or killed."""

from core.jobs.rules import HeldJob, JobStatus
from core.values import JobId
from worker.supervision.supervisor import BackOff
from worker.supervision.threads import Action, Watchdog


def held(status: JobStatus = JobStatus.RUNNING, lease_s: float = 60.0) -> list[HeldJob]:
    return [HeldJob(id=JobId("job_1"), status=status, lease_s=lease_s)]


def watchdog() -> Watchdog:
    return Watchdog(grace_s=10, margin_s=2)


def test_working_or_idle_child_is_left_alone() -> None:
    assert watchdog().remedy([], 0) is Action.LEAVE
    assert watchdog().remedy(held(), 0) is Action.LEAVE


def test_child_whose_lease_runs_out_is_killed_before_others_may_claim_its_job() -> None:
    assert watchdog().remedy(held(lease_s=2.5), 0) is Action.LEAVE
    assert watchdog().remedy(held(lease_s=1.5), 0) is Action.KILL


def test_ignored_cancellation_is_terminated_after_the_grace_time_and_killed_after_two() -> None:
    dog = watchdog()
    cancelling = held(JobStatus.CANCELLING)

    assert dog.remedy(cancelling, 100.0) is Action.LEAVE
    assert dog.remedy(cancelling, 109.9) is Action.LEAVE
    assert dog.remedy(cancelling, 110.0) is Action.TERMINATE
    assert dog.remedy(cancelling, 120.0) is Action.KILL


def test_the_grace_time_counts_from_each_cancellation_anew() -> None:
    dog = watchdog()
    dog.remedy(held(JobStatus.CANCELLING), 0)
    dog.remedy([], 5)

    assert dog.remedy(held(JobStatus.CANCELLING), 12) is Action.LEAVE


def test_back_off_doubles_up_to_its_longest_wait_and_starts_anew() -> None:
    waits = BackOff(0.5, 3.0)

    assert [waits.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    waits.reset()
    assert waits.next() == 0.5
