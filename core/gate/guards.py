"""Guards: the measures that can show that accuracy was kept, and why others cannot."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Measure, Ruling
from core.gate.phrases import capital, subject, the_baseline
from core.values import counted


def is_guard(measure: Measure, minimum_count: int) -> bool:
    """Return whether a measure can show that accuracy was kept: a loss, and on images enough."""
    return has_images(measure, minimum_count) and can_show_a_loss(measure)


def has_images(measure: Measure, minimum_count: int) -> bool:
    """Return whether a measure is of a suite or an earlier holdout with images enough."""
    return _stands_alone(measure) and measure.distinct >= minimum_count


def _stands_alone(measure: Measure) -> bool:
    return measure.kind is not MeasureKind.GAIN and not measure.pooled


def suites_need(minimum_count: int) -> int:
    """Return how many images suites need together, whatever else guards: a tenth of the minimum."""
    return ceil(minimum_count / 10)


@dataclass(frozen=True, kw_only=True)
class Guarding:
    """The conditions for passing: a guard, and suites that ask what no update has taught."""

    has_guard: bool
    suites: bool  # whether a suite was asked
    suite_images: int  # distinct test images on which suites can show a loss
    needed: int  # of these

    @property
    def is_enough(self) -> bool:
        """True if what is asked may let a version pass."""
        return self.has_guard and self.suite_images >= self.needed

    @classmethod
    def of(cls, measures: Iterable[Measure], minimum_count: int) -> "Guarding":
        """Return what measures other than the gain ask.

        Holdouts show what updates have taught. All else is asked by suites alone, so that one of a
        few images would let most of it be lost beside a holdout that guards. Images of several
        suites count once, and those of classes that updates have improved not at all. Of an
        unlabelled suite those count that its labels speak for, in the comparison in which they are
        fewest.
        """
        asked = [one for one in measures if one.kind is not MeasureKind.GAIN]
        of_suites = [one for one in asked if one.is_of_suite]
        images: dict[str, int] = {}
        for one in of_suites:
            if can_show_a_loss(one):
                own = max(0, one.distinct - one.uncounted)
                images[one.name] = min(own, images.get(one.name, own))
        return cls(
            has_guard=any(is_guard(one, minimum_count) for one in asked),
            suites=bool(of_suites),
            suite_images=sum(images.values()),
            needed=suites_need(minimum_count),
        )


def can_show_a_loss(measure: Measure) -> bool:
    """Return whether a version that gives one answer to everything would be beyond the tolerance.

    So the baseline had more right than may be lost, and chose among classes. Only its own list
    counts: with one class on it, longer lists show only what newer ones swallow. Where everything
    may be lost, nobody asks for a guard that could show it. Of an unlabelled suite only a
    disagreement with a label shows what it asks, and it is not known how many were right: the
    baseline's answers stand for it.
    """
    labelled = measure.disagreements is None or measure.disagreements.labelled > 0
    right = measure.count if measure.disagreements else measure.right_before
    margin = right - measure.by_one_answer
    falls = measure.tolerance >= 1 or margin > measure.tolerance * measure.count
    whole = measure.asked is ClassList.OWN and not (measure.formerly_right or measure.only_fails)
    return labelled and whole and measure.may_guard and measure.classes != 1 and falls


def is_worn_out(measure: Measure, alpha: float, minimum_count: int) -> bool:
    """Return whether the line's budget alone keeps even unchanged answers from holding.

    With error `alpha` for its lower bound, the measure would hold if no answer flipped.
    """
    if measure.verdicts is None or measure.look > 1:
        return False
    unchanged = replace(
        measure,
        gained=0,
        lost=0,
        soft=None,
        editions=(),
        untaught=None,
        ungained=None,
        every_image=None,
        class_mean=None,
        losing=None,
    )
    at_alpha = replace(unchanged, level=None).bounded(alpha, minimum_count)
    return at_alpha.holds and not unchanged.bounded(alpha, minimum_count).holds


def about_guards(
    rulings: Sequence[Ruling], *, minimum_count: int, worn_out: Sequence[Measure] = ()
) -> Iterator[str]:
    """Yield the sentences about suites and holdouts that cannot show that accuracy was kept."""
    yield from {measure.name: _worn_out(measure) for measure in worn_out}.values()
    guarding = {ruling.name for ruling in rulings if is_guard(ruling, minimum_count)}
    yield from {
        ruling.name: _blind(ruling)
        for ruling in sorted(rulings, key=lambda one: one.may_guard)  # the last tells why
        if ruling.asked is ClassList.OWN and not ruling.formerly_right
        if has_images(ruling, minimum_count) and ruling.name not in guarding
    }.values()
    small = [
        ruling
        for ruling in rulings
        if ruling.outcome is Outcome.HOLDS and _stands_alone(ruling)
        if ruling.distinct < minimum_count
    ]
    if small:
        yield _small(small, minimum_count)


def _worn_out(measure: Measure) -> str:
    return (
        f"The test images of {measure.name} are worn out: they have judged "
        f"{counted(measure.verdicts or 0, 'version')} of this line, and with the error that its "
        f"budget leaves for one more verdict, {counted(measure.images, 'image')} could not show "
        "that accuracy was kept even if no prediction changed. Judge by a suite of new images."
    )


def _blind(measure: Measure) -> str:
    """Return why a suite or holdout guards nothing, though it has images enough."""
    told = f"{measure.place if measure.is_of_suite else capital(measure.place)} guards nothing"
    if not measure.may_guard:
        return (
            f"{told}: it does not compare with the version that would be replaced on what that one "
            "has learned."
        )
    if measure.classes == 1:
        return f"{told}: with one class to choose from, every version is right."
    if measure.disagreements is not None and not measure.disagreements.labelled:
        return (
            f"{told}, as no answer differs: only labels of disagreements tell whether the suite "
            "shows what it asks."
        )
    if measure.disagreements is not None:
        return (
            f"{told}: {the_baseline(measure)} gave one and the same answer to "
            f"{measure.by_one_answer:,} of {counted(measure.count, 'image')}, and no more than may "
            "be lost are left. It needs as many images of each class."
        )
    had = (
        f"{told}: {the_baseline(measure)} had {measure.right_before:,} of "
        f"{counted(measure.count, 'answer')} right"
    )
    if measure.right_before <= measure.tolerance * measure.count:
        return f"{had}, which is no more than may be lost."
    return (
        f"{had}, and one and the same answer to all would be right in {measure.by_one_answer:,}: "
        "no more than may be lost lies between. It needs as many images of each class, or captions "
        "that differ."
    )


def _small(measures: Sequence[Measure], minimum_count: int) -> str:
    shown = "; ".join(f"{subject(m)} ({counted(m.distinct, 'image')})" for m in measures)
    return (
        f"These have fewer than {counted(minimum_count, 'distinct test image')}, so they can stop "
        f"a version but cannot alone let one pass: {shown}."
    )
