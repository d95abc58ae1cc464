"""The error budget of a line: how often its verdicts may pass a wrong version, all together."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ErrorBudget:
    """The one-sided error that all verdicts by the same test images share.

    The k-th verdict may spend total * half / ((half + k - 1) (half + k)). So the first `half`
    verdicts spend half of the total at nearly equal levels, and no number of them spends it all.
    """

    total: float
    half: int

    def share(self, verdict: int) -> float:
        """Return the error that a verdict may spend; the first is number 1."""
        before = self.half + verdict - 1
        return self.total * self.half / (before * (before + 1))

    def spent(self, verdicts: int) -> float:
        """Return the error that the first so many verdicts may spend together."""
        return self.total * verdicts / (self.half + verdicts)
