"""The measurements of one turn of the loop or of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How many images were classified, and how long that took, in seconds."""

    images: int
    answers: Sequence[float]  # latency of each call or request
    seconds: float
    cpu: float  # CPU time of all processes that classify

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def cpu_per_image(self) -> float:
        """CPU seconds for an image."""
        return self.cpu / self.images

    @property
    def p50(self) -> float:
        """The median latency."""
        return median(self.answers)

    @property
    def p99(self) -> float:
        """The latency that one of a hundred exceeds."""
        return quantiles(self.answers, n=100)[98] if len(self.answers) > 1 else self.answers[0]
