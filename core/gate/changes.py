"""Changes between two versions' answers to some images, and bounds of their difference."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

from core.gate.intervals import Flips, errors_below, quantile, score_bound
from core.values import description


@dataclass(frozen=True, kw_only=True)
class SoftFlips:
    """The changes of soft hits, summed over images.

    A soft hit is between 0 and 1: the answer to the image counts for half, those to its views
    together for the other half.
    """

    views: int = field(metadata=description("Views of each image, beside the image itself."))
    gained: float = field(metadata=description("Sum over the images whose soft hit grew."))
    lost: float = field(metadata=description("Sum over the images whose soft hit shrank."))
    design_effect: float = field(
        metadata=description(
            "Variance, divided by that of changes from all wrong to all right or the reverse."
        )
    )
    deficit: float = field(
        metadata=description(
            "By how many standard errors the change on the images themselves is worse than on "
            "their views. Above 1.645 (one-sided 5 %), single images alone decide."
        )
    )


# A loss on the images themselves that views do not show: beyond it, single images alone decide.
WORST_DEFICIT = quantile(0.05)


def strictness(distinct: int, minimum_count: int, *, pooled: bool) -> float:
    """Return the share of the full level's z by which a lower bound lies below the difference.

    With `minimum_count` distinct images it is 1. With fewer it is their share of that number, so
    that of hardly any images the difference itself has to be within tolerance. Of a pooled holdout
    it goes from -1 to 1 instead: a small one holds unless it fails, because the pool is judged as
    well.
    """
    share = min(1.0, distinct / minimum_count)
    return 2 * share - 1 if pooled else share


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The answers of two versions to some images, and how they changed."""

    distinct: int = field(
        metadata=description(
            "Images of which a prediction counts, near-duplicates as one: what a policy's "
            "`minimum_count` counts. With `disagreements`, those for which the labels speak."
        )
    )
    count: int = field(
        metadata=description(
            "Number of predictions: one for each group of near-duplicates, or for each caption of "
            "one image of it."
        )
    )
    gained: int = field(metadata=description("Correct for this version, wrong for the baseline."))
    lost: int = field(metadata=description("Correct for the baseline, wrong for this version."))
    design_effect: float = field(
        metadata=description(
            "Variance inflation because the answers about an image and its captions go together."
        )
    )
    soft: SoftFlips | None = field(
        default=None,
        metadata=description(
            "The answers to views of the images, by which `lower` is computed unless `deficit` is "
            "too large. Null: it is computed by single images, as are all other numbers."
        ),
    )

    @property
    def flips(self) -> Flips:
        """The flips, scaled to the number of independent answers that they are worth."""
        flips = Flips(count=self.count, gained=self.gained, lost=self.lost)
        return flips.scaled(1 / self.design_effect)

    @property
    def holds_by_views(self) -> bool:
        """True if soft hits decide: views were asked about, and images are not surely worse."""
        return self.soft is not None and self.soft.deficit <= WORST_DEFICIT

    @property
    def deciding(self) -> Flips:
        """The flips, scaled likewise, by which it holds: soft ones, if these decide."""
        if self.soft is None or not self.holds_by_views:
            return self.flips
        flips = Flips(count=self.count, gained=self.soft.gained, lost=self.soft.lost)
        return flips.scaled(1 / self.soft.design_effect)

    def bound(self, z: float) -> float:
        """Return the difference from which the observed one lies z standard deviations upwards."""
        if not self.holds_by_views:
            return score_bound(self.flips, z)
        # The change of single images has to be within tolerance, too.
        return min(score_bound(self.deciding, z), score_bound(self.flips, min(z, 0.0)))

    def is_within(self, tolerance: float, minimum_count: int, *, pooled: bool = False) -> bool:
        """Return whether it shows, as a part of the images, no loss that the others may hide.

        Of a holdout that is judged with others, too, only a sure loss counts, at any size.
        """
        z = -surely(pooled=True) if pooled else alone(self.distinct, minimum_count)
        return self.bound(z) >= -tolerance


# Easier images that are added hide a loss on the earlier ones, and the classes that an update
# teaches hide one on all others. So these alone have to be within tolerance with 80 % confidence,
# where they are as many as the policy's minimum; with hardly any, they may not be beyond it with
# 95 %. And earlier images may not have lost significantly more than the others (one-sided 5 %).
_CONFIDENCE, _SURELY = quantile(0.2), quantile(0.05)


def surely(*, pooled: bool) -> float:
    """Return by how many standard errors part of a measure has to be beyond a limit to hold it.

    That is a one-sided error of 5 %. Of one of several small holdouts it is 1 %: a line may have
    so many that chance would often hold back an update, and together they are asked by 5 %.
    """
    return quantile(0.01) if pooled else _SURELY


def alone(distinct: int, minimum_count: int, room: float = 0.0) -> float:
    """Return the z at which a part with so many of the images is judged by itself.

    `room` is added to that of a part with `minimum_count` images.
    """
    share = strictness(distinct, minimum_count, pooled=False)
    return share * (_CONFIDENCE + room + _SURELY) - _SURELY


@dataclass(frozen=True, kw_only=True)
class Untaught(Changes):
    """The images of the classes that no update since the baseline has improved.

    A class is improved if more of the images that these updates held out of it are right. What is
    gained on such classes makes up for no loss on the others.
    """

    classes: int = field(metadata=description("How many classes these images show."))
    live_difference: float | None = field(
        default=None,
        metadata=description(
            "The change that the live version itself has on them, against the root or a settled "
            "version. Where it lost more than `tolerance`, this version does not fail for it."
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Ungained(Changes):
    """The images of whose class the other images show no gain.

    A gain is shown if it is at least the square root of the number of answers that changed: chance
    alone gives as much to about one class in six. No image is chosen by its own answer, so the
    difference is not biased. But its variance is up to three times that of as many independent
    answers. So it holds a version back, and never fails one.
    """

    classes: int = field(metadata=description("How many classes these images show."))
    edition: int | None = field(
        default=None,
        metadata=description(
            "The earlier edition of which these are all images of the classes in `untaught`, "
            "whatever others of their class show. Null: they are chosen by the others."
        ),
    )


@dataclass(frozen=True, kw_only=True)
class ClassMean:
    """The mean of the changes of classes, each of which counts the same or nearly so.

    Where most images show one class, it tells what the change over all images hides.
    """

    classes: int = field(
        metadata=description(
            "How many classes are shown; of captions with `latest`, groups of near-duplicates."
        )
    )
    mean: float = field(
        metadata=description(
            "The mean of their changes: each counts the same or, if that is worse, by its number "
            "of images, at most 30."
        )
    )
    at_most: float = field(
        metadata=description(
            "What it surely does not exceed (one-sided 5 %, of one of several small holdouts 1 %), "
            "by which it decides; of a gain the mean itself, unless `latest`."
        )
    )
    latest: bool = field(
        default=False,
        metadata=description(
            "Whether it is of the last image of each group of several near-duplicates, or of each "
            "class in one, and not of all images."
        ),
    )

    @classmethod
    def of(cls, flips: Collection[Flips], z: float) -> "ClassMean":
        """Return the mean of classes with these flips, and what lies z standard errors above it.

        The variance of a class is that of a change of zero, so that a class of one image does not
        seem certain. But it has much of it: many such classes would hide what is lost on others,
        unless each counted for little.
        """
        found: list[ClassMean] = []
        for most in (1, _FULL_WEIGHT):
            weights = [min(one.count, most) for one in flips]
            each = [(w / sum(weights), one) for w, one in zip(weights, flips, strict=True)]
            mean = sum(w * one.difference for w, one in each)
            variance = sum(w * w * (one.gained + one.lost) / one.count**2 for w, one in each)
            found.append(cls(classes=len(each), mean=mean, at_most=mean + z * sqrt(variance)))
        return min(found, key=lambda one: one.at_most)


_FULL_WEIGHT = 30  # images with which a class counts as much as one with more


@dataclass(frozen=True, kw_only=True)
class Losing:
    """The images of whose class the other images show a loss.

    Where most classes gain a little, none visibly, they make up for the others; and where a few are
    lost, those that lost an image by chance hide it. No image is chosen by its own answer, as in
    `Ungained`, so the mean is that of the versions' true changes, and without a loss it is near 0.
    It holds a version back, and never fails one.

    One lost image makes a class of two or three lose. Hundreds of such classes would hide what is
    lost of a large one, so those with at least 10 and at least 30 images are asked alone, too.
    """

    images: int = field(metadata=description("How many, near-duplicates counted once."))
    classes: int = field(metadata=description("How many classes these images show."))
    mean: float = field(metadata=description("The change on them."))
    at_most: float = field(
        metadata=description(
            "What it surely does not exceed (one-sided 5 %, of one of several small holdouts 1 %); "
            "it decides."
        )
    )
    beyond: float = field(
        default=0.0,
        metadata=description(
            "The share of the other images of each class that was lost is larger than this: 0 or "
            "the limit for a single class."
        ),
    )
    at_least: int = field(
        default=1,
        metadata=description("Each of these classes has at least so many images: 1, 10 or 30."),
    )
    names: tuple[str, ...] = field(
        default=(),
        metadata=description(
            "Up to three of these classes in lower case, those that lost most answers first."
        ),
    )
    joined: bool = field(
        default=False,
        metadata=description(
            "Whether several suites, or several holdouts, show these classes, and the images are "
            "those of all, not of this one alone."
        ),
    )

    @classmethod
    def of(
        cls,
        changes: Sequence[tuple[str, int]],
        z: float,
        *,
        beyond: float = 0.0,
        most: float = 1.0,
    ) -> "Losing | None":
        """Return them, given each image's class and change: 1, 0 or -1. None if there are none.

        They are the images of whose class the others lost more than the share `beyond` and at most
        the share `most`. The variance is that of a change of zero, and `z` is the number of
        standard errors.
        """
        net, images = Counter[str](), Counter[str]()
        for name, change in changes:
            net[name] += change
            images[name] += 1

        def loses(name: str, change: int) -> bool:
            others = images[name] - 1
            return beyond * others < change - net[name] <= most * others

        lost = [(name, change) for name, change in changes if loses(name, change)]
        if not lost:
            return None
        mean = sum(change for _, change in lost) / len(lost)
        deviation = sqrt(sum(abs(change) for _, change in lost)) / len(lost)
        return cls(
            images=len(lost),
            classes=len({name for name, _ in lost}),
            names=tuple(sorted({name for name, _ in lost}, key=lambda one: (net[one], one))[:3]),
            mean=mean,
            at_most=mean + z * deviation,
            beyond=beyond,
        )

    @classmethod
    def worst(
        cls,
        changes: Sequence[tuple[str, int]],
        z: float,
        *,
        limit: float | None,
        most: float = 1.0,
    ) -> "Losing | None":
        """Return those of all classes that lose, or of those that lose beyond `limit`, if worse.

        Of all of these, or of those with at least 10 or 30 images. `limit` is that for a single
        class; the rest is as in `of`.
        """
        shares = [0.0] if limit is None else sorted({0.0, limit})
        images, found = Counter(name for name, _ in changes), list[Losing]()
        for at_least in _SIZES:
            large = [change for change in changes if images[change[0]] >= at_least]
            for beyond in shares:
                if (some := cls.of(large, z, beyond=beyond, most=most)) is not None:
                    found.append(replace(some, at_least=at_least))
        return min(found, key=lambda one: one.at_most, default=None)


_SIZES = (1, 10, _FULL_WEIGHT)  # least images of the classes that are asked together


@dataclass(frozen=True, kw_only=True)
class Edition:
    """An earlier edition of images that have grown since."""

    number: int
    earlier: Changes = field(metadata=description("Of the images of this edition."))
    added: Changes = field(metadata=description("Of those that were added since."))
    alone: Changes | None = field(
        default=None,
        metadata=description(
            "Of the captions of this edition, searched for among its images alone; null of classes."
        ),
    )

    def holds(self, tolerance: float, minimum_count: int, *, pooled: bool = False) -> bool:
        """Return whether its images alone show no loss that the added ones may hide.

        Of one of several holdouts, only that they are within tolerance: together they have to show
        that they lost no more than the others.
        """
        within = [self.earlier] if self.alone is None else [self.earlier, self.alone]
        if not all(one.is_within(tolerance, minimum_count) for one in within):
            return False
        deciding = self.earlier.deciding
        return (
            pooled
            or deciding.difference >= 0
            or errors_below(deciding, self.added.deciding) <= _SURELY
        )


@dataclass(frozen=True, kw_only=True)
class Disagreements:
    """The images about which two versions disagree, in a suite that is labelled only there.

    Where both give the same class, the image tells nothing of which is better, whatever it shows.
    The first disagreements in an order that does not depend on the answers are a random sample of
    all: with half of them labelled, the suite tells what half of its images, all labelled, would.
    Of images that show none of the suite's classes there may be as large a share among all images
    as among the labelled ones, and they tell nothing. So they do not count.
    """

    total: int
    labelled: int = field(
        metadata=description(
            "The first so many in the fixed order, all of which are labelled: all disagreements, "
            "half of them, a quarter and so on."
        )
    )
    none: int = field(
        default=0,
        metadata=description("Of the labelled ones, those that show none of the suite's classes."),
    )
    level_share: float = field(
        default=1.0,
        metadata=description(
            "The share of `level` that comparisons by so many labels may spend: whoever labels "
            "may choose among these numbers."
        ),
    )

    @property
    def sampled(self) -> float:
        """The share of the images that the labels speak for: 1 if the versions always agree."""
        return (self.labelled - self.none) / self.total if self.total else 1.0
