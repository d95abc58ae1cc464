"""Errors that end or interrupt a job."""

from core.errors.root import PerennialError


class Interruption(PerennialError):
    """The job must stop now."""


class LeaseLost(Interruption):
    """Another worker has taken over the job, so further writes are refused."""


class CancelRequested(Interruption):
    """The job is being cancelled."""


class StopRequested(Interruption):
    """The worker is shutting down; the job returns to the queue."""


class TrainingDiverged(PerennialError):
    """The loss or a gradient became NaN or infinite."""


class AnswersNotFinite(PerennialError):
    """A version's features contain NaN or infinity."""


class ExportDiffers(PerennialError):
    """The exported files do not give the version's features."""


class OutOfMemory(PerennialError):
    """The worker does not have enough memory for this job."""


class RankLost(PerennialError):
    """A training process has exited or stopped responding."""


class RanksDisagree(PerennialError):
    """The training processes ended up with different weights, so none of them can be used."""
