"""The status of an erasure."""

from enum import StrEnum

from core.domain.jobs.job import JobStatus


class ErasureStatus(StrEnum):
    """The status of an erasure."""

    ERASING = "erasing"
    FAILED = "failed"  # its job has ended early: retry that
    RETRAINING = "retraining"  # the images are gone; updates that it has ordered have not ended
    INCOMPLETE = "incomplete"  # some of what it wanted to train again has not been replaced
    DONE = "done"

    @classmethod
    def of(cls, job: JobStatus, *, waiting: int, missing: int) -> "ErasureStatus":
        """Return the status, given that of its job and how many versions wait or lack for good."""
        if not job.done:
            return cls.ERASING
        if job is not JobStatus.SUCCEEDED:
            return cls.FAILED
        if waiting:
            return cls.RETRAINING
        return cls.INCOMPLETE if missing else cls.DONE

    @property
    def ended(self) -> bool:
        """True once the images are gone and nothing more happens by itself."""
        return self in {ErasureStatus.INCOMPLETE, ErasureStatus.DONE}
