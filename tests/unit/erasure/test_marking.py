"""Marks of versions that learned from erased images, and the choice of those to train again."""

import pytest

from core.erasure.rules import ErasureStatus, Exposure, Retraining, marked, to_retrain
from core.jobs.rules import JobStatus
from core.registry.versions import Version
from tests.support.factories import a_job, a_model, a_policy, a_version

JOB = a_job(a_model(a_policy()))


def line(*parents: int | None, replaces: dict[int, int] | None = None) -> list[Version]:
    """Versions numbered from 1, by their parents."""
    return [
        a_version(JOB, number, parent=parent, replaces=(replaces or {}).get(number))
        for number, parent in enumerate(parents, start=1)
    ]


def found(versions: list[Version], *taught: int) -> dict[int, Exposure]:
    return marked(versions, lambda one: Exposure.TAUGHT if one.number in taught else None)


def test_descendants_inherit_what_a_version_learned_and_others_do_not() -> None:
    versions = line(None, 1, 2, 1, 3, 4)
    assert found(versions[::-1], 2) == {
        2: Exposure.TAUGHT,
        3: Exposure.INHERITED,
        5: Exposure.INHERITED,
    }
    assert found(versions, 2, 3)[3] is Exposure.TAUGHT
    assert found(versions) == {}


def again(versions: list[Version], *taught: int, live: int, wanted: Retraining) -> list[int]:
    chosen = to_retrain(versions, found(versions, *taught), live=[live], wanted=wanted)
    return [version.number for version in chosen]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [(Retraining.ALL, [2, 3, 4]), (Retraining.ALIASED, [2, 4]), (Retraining.NONE, [])],
)
def test_marked_versions_are_trained_again_all_or_those_of_live_lines_or_none(
    wanted: Retraining, numbers: list[int]
) -> None:
    assert again(line(None, 1, 2, 2, 1), 2, live=4, wanted=wanted) == numbers


@pytest.mark.parametrize("wanted", [Retraining.ALL, Retraining.ALIASED])
def test_what_was_replaced_is_not_trained_again_but_its_replacement_is(wanted: Retraining) -> None:
    versions = line(None, 1, 2, 1, 4, replaces={4: 2, 5: 3})
    assert again(versions, 2, 4, live=3, wanted=wanted) == [4, 5]


@pytest.mark.parametrize(
    ("job", "waiting", "missing", "live", "status"),
    [
        (JobStatus.RUNNING, 0, 0, 1, ErasureStatus.ERASING),
        (JobStatus.FAILED, 0, 0, 0, ErasureStatus.FAILED),
        (JobStatus.CANCELLED, 0, 0, 0, ErasureStatus.FAILED),
        (JobStatus.SUCCEEDED, 1, 2, 1, ErasureStatus.RETRAINING),
        (JobStatus.SUCCEEDED, 0, 1, 1, ErasureStatus.INCOMPLETE),
        (JobStatus.SUCCEEDED, 0, 0, 1, ErasureStatus.LIVE),
        (JobStatus.SUCCEEDED, 0, 0, 0, ErasureStatus.DONE),
    ],
)
def test_an_erasure_has_come_as_far_as_its_jobs(
    job: JobStatus, waiting: int, missing: int, live: int, status: ErasureStatus
) -> None:
    assert ErasureStatus.of(job, waiting=waiting, missing=missing, live=live) is status
    ended = {ErasureStatus.INCOMPLETE, ErasureStatus.LIVE, ErasureStatus.DONE}
    assert status.ended is (status in ended)
