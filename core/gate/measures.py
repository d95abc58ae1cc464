"""Measures: paired comparisons of a candidate with a baseline, and the gate's ruling on each."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from operator import gt, lt
from typing import Self

from core.gate.changes import (
    Changes,
    ClassMean,
    Disagreements,
    Edition,
    Losing,
    SoftFlips,
    Ungained,
    Untaught,
    strictness,
)
from core.gate.intervals import Flips, paired_interval, quantile
from core.gate.kinds import DIRECTIONS, SUITES, ClassList, MeasureKind, Outcome
from core.values import description


@dataclass(frozen=True, kw_only=True)
class Measure(Changes):
    """A paired comparison of the candidate with a baseline on one query.

    `difference`, bounds and `tolerance` are fractions of 1. A gain's tolerance is the negated
    wanted gain, so one rule, lower >= -tolerance, applies to every kind. How far `lower` lies below
    the difference grows with the images, up to the policy's minimum (`strictness`).
    """

    kind: MeasureKind
    name: str = field(
        metadata=description("The suite, or the version whose update the holdout belongs to.")
    )
    baseline: str = field(
        metadata=description(
            "What the version compared with is: the parent, the live version, the root or the "
            "settled version, which is the first promoted one after that of the holdout; or "
            "several of these.",
            ["parent", "live version and root", "parent and settled version"],
        )
    )
    baseline_version: int | None  # None: each holdout has its own
    tolerance: float = field(
        metadata=description("A fraction of 1; for a gain, the wanted gain, negated.")
    )
    images: int
    right: int = field(
        metadata=description("By this version; with `disagreements`, of the labelled ones.")
    )
    right_before: int  # by the baseline, likewise
    difference: float
    lower: float = field(
        metadata=description(
            "The bound that decides: a measure holds if it is at least -`tolerance`. With fewer "
            "test images than the policy's minimum it lies nearer to `difference`; that of a "
            "`pooled` holdout with few images lies above it. If `soft` decides, it is the bound of "
            "the change of soft hits, or `difference` if that is lower; and it is `every_image`, "
            "or that of `class_mean` or `losing`, if that is lower still. Where nothing has to "
            "hold (see `asked`), it is an upper bound."
        ),
    )
    interval_lower: float = field(
        metadata=description(
            "With `upper` the two-sided interval of `difference`, each bound at one-sided error "
            "`alpha` of the policy, whatever decides."
        ),
    )
    upper: float
    asked: ClassList = field(
        default=ClassList.OWN,
        metadata=description(
            "The classes that both versions choose from: those of the suite or of the time when "
            "the update was learned (`own`), these and all that this version has learned "
            "(`union`), or, for holdouts, these and the classes of the model's zero-shot suites "
            "(`with_suites`). Captions are searched for among their own images or those of all "
            "earlier captioned ones (`own`), or among the images of all captioned suites and all "
            "holdouts (`union`). Over `default`, each version chooses from all that it has learned "
            "itself, as for callers who send no classes. That can fail a version and is never "
            "`open`; so does a `pooled` holdout with suites' classes, unless the live version has "
            "lost as much. Over `learned`, both choose from all that this version has learned "
            "without a suite's own classes, about its images of what the baseline has learned."
        ),
    )
    own_prompts: bool = field(
        default=False,
        metadata=description(
            "Whether each version was asked in its own prompt, which callers get who send none, as "
            "the two differ; else in that of the suite or holdout."
        ),
    )
    both_directions: bool = field(
        default=False,
        metadata=description(
            "Of a gain in captions: it counts the answers of both directions of retrieval together."
        ),
    )
    depth: int = field(
        default=1,
        metadata=description(
            "Of captions: an answer is right if what is wanted is among the first so many. At a "
            "depth of more than 1 a measure can fail a version, and none has to hold."
        ),
    )
    classes: int | None = field(
        default=None,
        metadata=description(
            "Number of classes to choose from; those that the policy calls the same are one. Over "
            "`default` it is this version's. Null for captions, and where holdouts differ in it."
        ),
    )
    pooled: bool = field(
        default=False,
        metadata=description(
            "Whether another measure is of these images, too: of them and others together, or the "
            "gain."
        ),
    )
    may_guard: bool = field(
        default=True,
        metadata=description(
            "Whether it tells of what a promotion replaces, which a guard has to. Where the live "
            "version is not the parent, that takes a comparison with it or with the root, on a "
            "suite or on holdouts of what it has learned."
        ),
    )
    uncounted: int = field(
        default=0,
        metadata=description(
            "Of a suite: how many of its distinct test images do not count towards those that "
            "suites need. Another suite of the report, which is counted before it, has them, too, "
            "or they show classes that updates have improved, or parent and version 1 were wrong "
            "about more than half of the others."
        ),
    )
    live_difference: float | None = field(
        default=None,
        metadata=description(
            "The `difference` that the live version itself has to the root or settled version. "
            "Where it lost more than `tolerance`, this version cannot fail for it."
        ),
    )
    formerly_right: bool = field(
        default=False,
        metadata=description(
            "Whether only predictions that were right before count: `lost` out of `count` are then "
            "negative flips, and `tolerance` is the limit for their share."
        ),
    )
    verdicts: int | None = field(
        default=None,
        metadata=description(
            "Versions of the line that these test images have judged, with this one."
        ),
    )
    luck: float = field(
        default=1.0,
        metadata=description(
            "What the level of the line's budget is divided by, because the version's ancestors "
            "were chosen among several tries."
        ),
    )
    look: int = field(
        default=1,
        metadata=description(
            "Number of this look: the version's verdicts by these test images, which have grown "
            "between."
        ),
    )
    level: float | None = field(
        default=None,
        metadata=description(
            "One-sided error of the lower bound of a measure with enough images: what the looks, "
            "and the verdicts of a line with a budget, leave of the policy's `alpha`. Null for the "
            "gain."
        ),
    )
    editions: tuple[Edition, ...] = field(
        default=(),
        metadata=description("The earlier editions of images that have grown, oldest first."),
    )
    held_back_by: int | None = field(
        default=None,
        metadata=description(
            "The number of an earlier edition whose images alone show a loss that those added "
            "since may hide, so that the measure does not hold."
        ),
    )
    untaught: Untaught | None = field(
        default=None,
        metadata=description(
            "The images of the classes that no update since the baseline has improved, by the "
            "images that it held out: alone they have to be within `tolerance`, and fail the "
            "version if they surely are not. Null: of the classes shown none was improved, or all "
            "were, or nothing is asked of it."
        ),
    )
    ungained: Ungained | None = field(
        default=None,
        metadata=description(
            "The images of whose class the other images show no gain, of all or of `untaught`, now "
            "or in an earlier edition; or all of `untaught` in one. The worst of these, which has "
            "to be within `tolerance` by itself, too. Null: no class shows a gain, or all do, or "
            "nothing is asked of it."
        ),
    )
    held_back_by_others: bool = field(
        default=False,
        metadata=description(
            "Whether the images of `untaught`, or of `ungained`, alone show a loss that those of "
            "the improved classes may hide, so that the measure does not hold."
        ),
    )
    every_image: float | None = field(
        default=None,
        metadata=description(
            "The change over all images where near-duplicates count once; or, if that is worse, "
            "what it surely does not exceed (as for `losing`) over those of an earlier edition. It "
            "has to be within `tolerance`, too. Null: none are near-duplicates, or nothing is "
            "asked of it."
        ),
    )
    class_mean: ClassMean | None = field(
        default=None,
        metadata=description(
            "The mean of the changes of classes: of a gain it has to reach the wanted gain, too, "
            "and else it may not surely be beyond `tolerance`. A class with many images would "
            "hide others. Null: nothing is asked of it."
        ),
    )
    losing: Losing | None = field(
        default=None,
        metadata=description(
            "The images of whose class the other images show a loss, or one beyond the limit for a "
            "single class if that is worse: they may not surely have lost more than `tolerance`. "
            "Many classes that gain a little would hide them. Null: there are none, or nothing is "
            "asked of it."
        ),
    )
    by_one_answer: int = field(
        default=0,
        metadata=description(
            "How many answers would be right if all were the same: of the most frequent class, or "
            "of the caption or image that is most often right. A version with broken features may "
            "answer so. With `disagreements`, how many answers of the baseline are the same."
        ),
    )
    disagreements: Disagreements | None = field(
        default=None,
        metadata=description(
            "Of an unlabelled suite: `difference` is the share of images about which the versions "
            "disagree, times the mean difference among those that are labelled. Null: all images "
            "are labelled."
        ),
    )

    @classmethod
    def of(
        cls,
        kind: MeasureKind,
        *,
        name: str,
        baseline: str,
        baseline_version: int | None,
        tolerance: float,
        images: int,
        distinct: int | None = None,
        now: Sequence[bool],
        before: Sequence[bool],
        design_effect: float = 1.0,
        alpha: float,
        minimum_count: int = 1,
        pooled: bool = False,
        may_guard: bool = True,
        live_difference: float | None = None,
        asked: ClassList = ClassList.OWN,
        own_prompts: bool = False,
        classes: int | None = None,
        both_directions: bool = False,
        depth: int = 1,
        formerly_right: bool = False,
        verdicts: int | None = None,
        luck: float = 1.0,
        look: int = 1,
        level: float | None = None,
        soft: SoftFlips | None = None,
        editions: Sequence[Edition] = (),
        untaught: Untaught | None = None,
        ungained: Ungained | None = None,
        every_image: float | None = None,
        class_mean: ClassMean | None = None,
        losing: Losing | None = None,
        by_one_answer: int = 0,
        disagreements: Disagreements | None = None,
    ) -> "Measure":
        """Return the measure of two versions' hits on the same query, answer by answer.

        All images are distinct unless said otherwise. `alpha` and `minimum_count` are the policy's,
        as in `bounded`. With `disagreements`, the hits are those on the labelled ones.
        """
        pairs = list(zip(now, before, strict=True))
        gained, lost = sum(starmap(gt, pairs)), sum(starmap(lt, pairs))  # True > False
        count, sampled = len(pairs), 1.0
        if disagreements is not None:
            count, sampled = images, disagreements.sampled
        difference = Flips(count=count * sampled, gained=gained, lost=lost).difference
        return cls(
            kind=kind,
            name=name,
            baseline=baseline,
            baseline_version=baseline_version,
            tolerance=tolerance,
            images=images,
            distinct=images if distinct is None else distinct,
            count=count,
            right=sum(now),
            right_before=sum(before),
            gained=gained,
            lost=lost,
            design_effect=design_effect,
            difference=difference,
            lower=difference,
            interval_lower=difference,
            upper=difference,
            pooled=pooled,
            may_guard=may_guard,
            live_difference=live_difference,
            asked=asked,
            own_prompts=own_prompts,
            classes=classes,
            both_directions=both_directions,
            depth=depth,
            formerly_right=formerly_right,
            verdicts=verdicts,
            luck=luck,
            look=look,
            level=level,
            soft=soft,
            editions=tuple(editions),
            untaught=untaught,
            ungained=ungained,
            every_image=every_image,
            class_mean=class_mean,
            losing=losing,
            by_one_answer=by_one_answer,
            disagreements=disagreements,
        ).bounded(alpha, minimum_count)

    def bounded(self, alpha: float, minimum_count: int) -> Self:
        """Return the measure with its bounds under a policy.

        `alpha` is the one-sided error of the upper bound and, unless `level` is, of the lower bound
        of a measure with `minimum_count` distinct images.
        """
        share = self.strictness(self.distinct, minimum_count)
        milder = share <= 0  # a stricter level must not put its bound higher
        z = share * quantile(alpha if self.level is None or milder else self.level)
        interval = paired_interval(self.flips, alpha)
        limits = self.tolerance, minimum_count
        hiding = (e.number for e in self.editions if not e.holds(*limits, pooled=self.pooled))
        parts = [one.at_most for one in (self.class_mean, self.losing) if one is not None]
        beside = parts if self.every_image is None else [self.every_image, *parts]
        return replace(
            self,
            lower=min([self.bound(z), *beside]),
            interval_lower=interval.lower,
            upper=interval.upper,
            held_back_by=next(hiding, None),
            held_back_by_others=not all(
                part.is_within(*limits, pooled=self.pooled) for part in self.others
            ),
        )

    def strictness(self, distinct: int, minimum_count: int) -> float:
        """Return the share of the full level's z that its lower bound has with so many images."""
        if self.only_fails:
            return -1.0
        if self.kind is MeasureKind.GAIN:  # which has to be shown at any size
            return 1.0
        return strictness(distinct, minimum_count, pooled=self.pooled)

    @property
    def only_fails(self) -> bool:
        """True if it can fail a version and no version needs it to pass.

        By default, whoever has learned more has more to choose from, and some answers are lost by
        that. With suites' classes, names may overlap, which takes much of a small holdout. Of small
        holdouts the smallest are judged among the others, which would hide that they are lost. And
        R@5 is judged beside R@1: if both had to hold, fewer harmless versions would pass.
        """
        of_suites = self.asked is ClassList.WITH_SUITES
        of_several = self.kind is MeasureKind.HOLDOUTS or " updates" in self.name
        in_another = self.pooled and (of_suites or of_several)
        return in_another or self.depth > 1 or self.asked is ClassList.DEFAULT

    @property
    def is_of_captions(self) -> bool:
        """True if it counts searches in a gallery, which has no list of classes."""
        return self.kind in DIRECTIONS or self.both_directions

    @property
    def is_of_suite(self) -> bool:
        """True if it asks a suite and no holdout; names of suites have no space."""
        return self.kind in SUITES and " " not in self.name

    @property
    def place(self) -> str:
        """The name of the suite, or "the holdout of version 2"."""
        if " " not in self.name:
            return self.name
        what = "pooled holdouts" if " updates" in self.name else "holdout"
        return f"the {what} of {self.name}"

    @property
    def flips(self) -> Flips:
        """The flips, scaled to the number of independent answers that they are worth.

        Those on labelled disagreements are flips of as large a part of all images.
        """
        if self.disagreements is None:
            return super().flips
        count = self.count * self.disagreements.sampled
        return Flips(count=count, gained=self.gained, lost=self.lost)

    @property
    def live_is_beyond(self) -> bool:
        """True if the live version itself has lost more than the tolerance."""
        return self.live_difference is not None and self.live_difference < -self.tolerance

    def is_inherited(self, part: Changes) -> bool:
        """Return whether the live version lost more than the tolerance of all, or of `untaught`."""
        if part is not self.untaught or self.untaught is None:
            return self.live_is_beyond
        theirs = self.untaught.live_difference
        return theirs is not None and theirs < -self.tolerance

    @property
    def others(self) -> tuple[Untaught | Ungained, ...]:
        """The images of the classes not improved, which have to be within tolerance alone."""
        return tuple(part for part in (self.untaught, self.ungained) if part is not None)

    @property
    def judged(self) -> tuple[Changes, ...]:
        """The changes that may fail: of all images, and of those of `untaught` by themselves."""
        return (self,) if self.untaught is None else (self, self.untaught)

    @property
    def decides_apart(self) -> bool:
        """True if the bound that decides is not the lower end of the interval, as told in points.

        With few images less is asked, and a later look or a line's budget asks for more.
        """
        return not self.only_fails and abs(self.lower - self.interval_lower) >= 0.001

    @property
    def lost_on_copies(self) -> bool:
        """True if the change over all images is beyond the tolerance, near-duplicates each."""
        return self.every_image is not None and self.every_image < -self.tolerance

    @property
    def lost_in_classes(self) -> bool:
        """True if the mean of the changes of classes is beyond the tolerance."""
        return self.class_mean is not None and self.class_mean.at_most < -self.tolerance

    @property
    def lost_by_some(self) -> bool:
        """True if the classes that lose surely lost more than the tolerance."""
        return self.losing is not None and self.losing.at_most < -self.tolerance

    @property
    def holds(self) -> bool:
        """True if the lower bound is within the tolerance, and no part of the images holds back."""
        held_back = self.held_back_by is not None or self.held_back_by_others
        within = self.lower >= -self.tolerance and not held_back
        return within or (self.only_fails and not self.live_is_beyond)


@dataclass(frozen=True, kw_only=True)
class Ruling(Measure):
    """A paired comparison of the candidate with a baseline, and the gate's ruling on it."""

    outcome: Outcome
    more_images: int | None = field(
        metadata=description(
            "About how many more images would decide an open measure with a chance of 80 %, if "
            "predictions keep changing at the same rate. With `disagreements`, how many more "
            "labels of these, which may be more than a suite of this size has."
        )
    )

    @classmethod
    def on(cls, measure: Measure, outcome: Outcome, more_images: int | None = None) -> "Ruling":
        """Return the ruling on a measure; `more_images` is None if no number would decide it."""
        return cls(**(vars(measure) | {"outcome": outcome, "more_images": more_images}))
