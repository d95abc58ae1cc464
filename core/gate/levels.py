"""The error that a verdict may spend: its share of the line's, and of its version's looks."""

from collections.abc import Sequence
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


# The power to which a version's luck is raised in its children. By `bench-gate-lines`, the bound
# of a line then holds if versions keep 60 to 92 % of their parent's answers.
KEPT_LUCK = 0.95


def inherited_luck(tries: Sequence[int]) -> float:
    """Return by how much a version's level is divided for the luck of its ancestors.

    `tries` has their numbers of tries, the parent's first. One that is the best of t tries has luck
    worth a factor of up to t; its child keeps most of its answers, and so of this luck.
    """
    luck = 1.0
    for count in reversed(tries):
        luck = count * luck**KEPT_LUCK
    return luck


# A version may be judged again when a suite or holdout has grown: its next look. Looks share the
# error of one verdict, of which the first has most. However the images grow, also if their number
# is chosen by what earlier looks have shown, all looks together err at most at the level of one
# verdict (`make bench-gate-looks`).
LOOK_SHARES = (0.8, 0.04, 0.02, 0.01, 0.005)


def label_counts(disagreements: int, least: int) -> tuple[int, ...]:
    """Return the numbers of labels at which an unlabelled suite compares, smallest first.

    They are all disagreements, half of them, a quarter and so on, down to `least`. Whoever labels
    can work out the verdict before each label is sent, and could stop at any that looks well.
    """
    found = [disagreements]
    while least <= (half := (found[0] + 1) // 2) < found[0]:
        found.insert(0, half)
    return tuple(found)


def label_share(counts: Sequence[int], count: int) -> float:
    """Return the share of a look's error that one of the `label_counts` may spend.

    All disagreements have half of it, half of them a quarter, and so on; the shares sum to 1, so
    whoever chooses among these numbers by the labels errs no more often than the look may.
    """
    larger = len(counts) - 1 - counts.index(count)
    return 0.5 ** min(larger + 1, len(counts) - 1)


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The place of a verdict among those of a line, and of its version, by the same test images."""

    verdict: int = 1  # its number in the line: the first is 1
    luck: float = 1.0  # that the version inherits, by which its level is divided
    look: int = 1  # its number among those of the version, if the images have grown between
    seen: tuple[int, ...] = ()  # test images at other looks, also at those that do not count
