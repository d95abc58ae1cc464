"""Gate policies: the tolerances for what a version may forget."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.gate.fields import IMAGES, PERCENT, VERDICTS, VIEWS, limited, limits_of
from core.gate.kinds import LIVE, PARENT, ROOT, SETTLED, SUITES, ClassList, MeasureKind
from core.gate.levels import LOOK_SHARES, ErrorBudget, Spending
from core.gate.measures import Measure
from core.values import PolicyId


class Verdict(StrEnum):
    """The gate's verdict."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """Tolerances for what a version may forget, in fractions of 1: 0.03 is three points."""

    id: PolicyId
    name: str
    parent_tolerance: float = limited(
        0.03,
        "Suites, against the parent and the live version",
        "may be lost",
        description="Suites, and holdouts of other updates of captions, against the parent and the "
        "live version.",
    )
    root_tolerance: float = limited(0.05, "Suites, against the root", "may be lost")
    union_tolerance: float = limited(
        0.05,
        "Suites, with all learned classes to choose from too",
        "may be lost",
        description="Zero-shot suites, against the parent and the live version, with all classes "
        "that the version has learned to choose from too; and searches among captions, among "
        "the images of all suites and holdouts. Against the root, suites may "
        "lose this or `root_tolerance`, whichever is larger. Suites' images of what the parent or "
        "the live version has learned, against that version, with all learned classes and without "
        "the suite's own. Holdouts of other updates, with the "
        "classes of zero-shot suites to choose from too, may lose this or `holdout_tolerance`; "
        "against the settled version this or `swallow_tolerance`, whichever is larger.",
    )
    holdout_tolerance: float = limited(
        0.05,
        "Holdouts of other updates, over both lists of classes",
        "may be lost",
        description="Holdouts of other updates, against the parent and the live version: with the "
        "classes of their time, and with all that the version has learned to choose from.",
    )
    settled_tolerance: float = limited(
        0.08,
        "Holdouts of other updates and suites, against settled versions",
        "may be lost",
        description="Holdouts of other updates, against the settled version: the first after the "
        "holdout's own version that went live, or that one itself. Suites may lose this or "
        "`root_tolerance`, whichever is larger, against earlier versions that went live.",
    )
    swallow_tolerance: float = limited(
        0.1,
        "The same, with all learned classes to choose from too",
        "may be lost",
        description="Holdouts of other updates, against the settled version, with all classes that "
        "the version has learned to choose from: what newer classes may swallow of earlier ones "
        "however many updates lie between. Suites' images of what settled versions have learned, "
        "against these, without the suite's own classes, may lose this or `union_tolerance`, "
        "whichever is larger.",
    )
    default_list_tolerance: float = limited(
        0.3,
        "Learned classes, each version over all that it has learned",
        "may be lost; more fails a version",
        description="Holdouts of other updates, and suites' images of learned classes, against the "
        "parent and the live version, where "
        "each version chooses from all classes that it has learned itself, as for callers who send "
        "no classes. New classes take some answers from every version, as there is more to choose "
        "from. So this can fail a version and never keeps one from passing.",
    )
    class_tolerance: float | None = limited(
        0.3,
        "One class of a suite or of a holdout",
        "may be lost; more fails a version",
        optional="not judged one by one",
        description="Each class with test images in a suite, in several suites together, in the "
        "holdout of another update or in several small ones together, against all versions that "
        "these are compared with; in several of any size, and in the update's own, against the "
        "parent and the live version. It can fail a version and never lets one pass. "
        "Null: classes are not judged one by one.",
    )
    wanted_gain: float = limited(
        0.0,
        "Wanted gain",
        "must be reached on the update's own holdout, as a lower bound",
        loosens=-1,
    )
    gain_error: float = limited(
        0.05,
        "Error of the gain's bound",
        "is the chance that an update passes as one with the wanted gain and has less",
        unit=PERCENT,
        high=0.5,
        above_low=True,
        description="One-sided error of the gain's lower bound. It may be larger than `alpha`, as "
        "it is about the update's own classes alone: these may then be worse than before.",
    )
    minimum_count: int = limited(
        350,
        "Guards from",
        "are needed to let a version pass; with fewer, less is asked of a measure",
        unit=IMAGES,
        loosens=0,
        low=1,
        high=1_000_000,
        description="Test images, near-duplicates counted once, from which on the whole interval "
        "must be within tolerance. Of a measure with fewer less is asked, and it alone lets no "
        "version pass. Nor does any pass where suites can show a loss on fewer than a tenth.",
    )
    alpha: float = limited(
        0.005,
        "Error of each bound",
        "is the chance that one verdict is wrong about one measure",
        unit=PERCENT,
        loosens=0,
        high=0.2,
        above_low=True,
    )
    views: int = limited(
        2,
        "Views of each image",
        "are asked about too: whether a measure holds is decided by the image and its views",
        unit=VIEWS,
        loosens=0,
        high=64,
        description="Views of each image, small crops of it, that versions are asked about too. "
        "Whether a measure of classes holds is decided by the answers to an image, which count for "
        "half, and to its views, which vary less together than the answer to the image alone. "
        "Single images alone decide where they lost significantly more than their views. 0: judged "
        "by single images.",
    )
    line_error: float | None = limited(
        None,
        "Error of the whole line",
        "are shared by all verdicts by the same test images; without it, each verdict is judged "
        "as if it were the only one",
        unit=PERCENT,
        loosens=0,
        low=0.001,
        high=0.5,
        optional="no budget",
        description="Bound on the chance that any version of a line passes although it is beyond "
        "a tolerance of a suite with `minimum_count` images. The verdicts by the same test images "
        "share it. Null: each verdict is judged as if it were the only one.",
    )
    line_updates: int = limited(
        100,
        "Half of the line's error",
        "spend it",
        unit=VERDICTS,
        loosens=0,
        low=1,
        high=100_000,
        description="Number of verdicts after which half of `line_error` is spent.",
    )
    negative_flips: float | None = limited(
        None,
        "Negative flips",
        "of a suite's formerly right answers may be wrong now",
        unit=PERCENT,
        optional="not judged",
        description="Limit for the share of a suite's formerly right predictions that are wrong "
        "now, compared with the parent and the live version. Null: not judged.",
    )
    same_names: tuple[tuple[str, str], ...] = ()  # an answer of one counts for the other
    reason: str = ""  # why it differs from the defaults, shown in every report
    created_at: datetime

    @property
    def meanings(self) -> Mapping[str, str]:
        """One name for all that mean the same, by each of them in lower case."""
        found: dict[str, str] = {}
        for pair in self.same_names:
            one, other = (found.get(name.lower(), name.lower()) for name in pair)
            joined = {name for name, meaning in found.items() if meaning == other}
            found |= dict.fromkeys({*joined, one, other}, one)
        return found

    def is_no_looser_than(self, other: "GatePolicy") -> bool:
        """Return whether none of its limits allows what another policy does not.

        What allows neither more nor less as it grows, such as `minimum_count`, must be the same.
        """
        theirs = other.meanings
        return all(
            limit.allows_no_more(getattr(self, name), getattr(other, name))
            for name, limit in LIMITS.items()
        ) and all(
            theirs.get(one.lower(), one.lower()) == theirs.get(two.lower(), two.lower())
            for one, two in self.same_names
        )

    def tolerances(
        self, kind: MeasureKind, asked: ClassList, depth: int = 1
    ) -> Mapping[str, float]:
        """Return the loss that a measure may show, by what its baseline is to the candidate.

        Empty if there is no such measure, as of the gain, which has one list of classes. Where
        classes of suites may take answers of learned ones or the reverse, names may overlap, and so
        may what captions say, which `union_tolerance` leaves room for.
        """
        if asked is ClassList.WITH_SUITES:
            if kind not in {MeasureKind.HOLDOUT, MeasureKind.HOLDOUTS}:
                return {}
            once = max(self.union_tolerance, self.holdout_tolerance)
            return {PARENT: once, LIVE: once, SETTLED: self._swallowed_in_all}
        if asked in {ClassList.DEFAULT, ClassList.LEARNED}:
            return self._over_learned(kind, by_default=asked is ClassList.DEFAULT)
        if asked is ClassList.UNION:
            return self._over_union(kind)
        if kind is MeasureKind.GAIN:
            return {PARENT: -self.wanted_gain if depth == 1 else 0.0}
        if kind in SUITES:
            update, wider = self.parent_tolerance, {ROOT: self.root_tolerance}
            wider[SETTLED] = max(self.settled_tolerance, self.root_tolerance)
        else:
            update, wider = self.holdout_tolerance, {SETTLED: self.settled_tolerance}
        return {PARENT: update, LIVE: update, **wider}

    def _over_learned(self, kind: MeasureKind, *, by_default: bool) -> Mapping[str, float]:
        """Return the limits with learned classes alone: each version's own, or the candidate's."""
        if not by_default:
            once, in_all = self.union_tolerance, self._swallowed_in_all
            limits = {PARENT: once, LIVE: once, SETTLED: in_all}
            return limits if kind is MeasureKind.ZERO_SHOT else {}
        judged = {MeasureKind.ZERO_SHOT, MeasureKind.HOLDOUT, MeasureKind.HOLDOUTS}
        return dict.fromkeys((PARENT, LIVE) if kind in judged else (), self.default_list_tolerance)

    @property
    def _swallowed_in_all(self) -> float:
        """The limit against settled versions where names of suites and learned ones may overlap."""
        return max(self.union_tolerance, self.swallow_tolerance)

    def _over_union(self, kind: MeasureKind) -> Mapping[str, float]:
        if kind in SUITES:
            once, in_all = self.union_tolerance, max(self.union_tolerance, self.root_tolerance)
            return {PARENT: once, LIVE: once, ROOT: in_all}
        if kind is MeasureKind.GAIN:
            return {}
        once = self.holdout_tolerance
        return {PARENT: once, LIVE: once, SETTLED: self.swallow_tolerance}

    def tolerance(self, measure: Measure) -> float:
        """Return the loss that a measure may show: of all that its baseline is, the smallest."""
        limits = self.tolerances(measure.kind, measure.asked, measure.depth)
        return min(limit for role, limit in limits.items() if role in measure.baseline)

    @property
    def judged_views(self) -> int:
        """The number of views by which measures may hold.

        None with a budget: where losses on views and on images differ truly, soft hits may err more
        often than single images, which no line could afford.
        """
        return self.views if self.line_error is None else 0

    @property
    def budget(self) -> ErrorBudget | None:
        """The error budget of a line; None if each verdict is judged as if it were the only one."""
        if self.line_error is None:
            return None
        return ErrorBudget(total=self.line_error, half=self.line_updates)

    def level(self, verdict: int, luck: float = 1.0) -> float | None:
        """Return the error that all looks of a line's verdict by the same test images share.

        `verdict` counts from 1; `luck` is what the version inherits. Returns None if there is no
        budget, so that `alpha` applies.
        """
        if self.budget is None:
            return None
        return min(self.alpha, self.budget.share(verdict) / luck)

    def level_of(self, spending: Spending) -> float:
        """Return the error of the lower bounds of one look: its share; 0 after the last look."""
        if spending.look > len(LOOK_SHARES):
            return 0.0
        left = self.level(spending.verdict, spending.luck)
        return (self.alpha if left is None else left) * LOOK_SHARES[spending.look - 1]


LIMITS = limits_of(GatePolicy)
