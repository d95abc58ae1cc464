"""A line that is trained again after an erasure is the line that never had the image."""

from pathlib import Path

from core.erasure.rules import ErasureStatus
from core.jobs.rules import JobStatus
from core.registry.versions import Version
from tests.support.learning.erasure_trial import erase_and_compare


def test_a_line_without_an_erased_image_is_the_line_that_never_had_it(tmp_path: Path) -> None:
    trial = erase_and_compare(tmp_path, lesson=0, image=2)
    assert [job.status for job in trial.jobs] == [JobStatus.SUCCEEDED] * 4, trial.jobs[-1].error
    assert [version.replaces for version in trial.versions] == [None] * 4 + [2, 3, 4]
    assert [version.digest for version in trial.replacing] == trial.control
    assert {version.digest for version in trial.marked}.isdisjoint(trial.control)
    assert list(map(_kept, trial.replacing)) == list(map(_kept, trial.marked))
    assert trial.equal

    assert trial.certificate["status"] is ErasureStatus.DONE
    assert all(one["exact"] for one in trial.certificate["versions"])
    assert [one["in_store"] for one in trial.certificate["images"]] == [False]
    where = {path.relative_to(tmp_path).parts[0] for path in trial.files_before}
    assert where == {"home", "back-up"}
    assert trial.files == []


def _kept(version: Version) -> object:
    """The facts that a repetition shares with the update that it repeats."""
    return version.recipe, version.classes, version.prompt, version.environment
