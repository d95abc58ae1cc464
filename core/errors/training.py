"""A job must stop."""

from core.errors.root import PerennialError


class Interruption(PerennialError):
    """The job must stop now."""


class LeaseLost(Interruption):
    """Another worker holds the job: every further write is refused."""


class CancelRequested(Interruption):
    """The job is being cancelled."""


class StopRequested(Interruption):
    """The worker is shutting down; the job resumes elsewhere."""


class TrainingDiverged(PerennialError):
    """The loss is not a number any more."""


class AnswersNotFinite(PerennialError):
    """A version gives features that are not finite numbers."""


class OutOfMemory(PerennialError):
    """The worker has too little memory for this job."""


class RankLost(PerennialError):
    """A process that trains along has ended or does not answer."""


class RanksDisagree(PerennialError):
    """The processes that train together hold different weights: trust none of them."""
