"""Plots of a trial as inline SVG: the difference in accuracy now, and its course by the labels."""

from collections.abc import Sequence
from math import log

from markupsafe import Markup

from api.pages.plots import Drawing, line, text
from api.pages.rendering import points, ticks, whole
from core.trials.rules import CoursePoint, Evidence, TrialVerdict

WIDTH, COURSE_HEIGHT = 760, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 14, 30
RECENT = 8  # the axis suits the points from an eighth of the labels on; earlier ones are cut
DIFFERENCE_HEIGHT, MIDDLE = 96, 42

_KINDS = {
    TrialVerdict.BETTER: "holds",
    TrialVerdict.WORSE: "fails",
    TrialVerdict.UNDECIDED: "open",
}


def difference_plot(evidence: Evidence) -> Drawing:
    """Draw the candidate's accuracy less that of the current version, in percentage points."""
    lower, upper = evidence.interval.lower, evidence.interval.upper
    pad = max(0.01, 0.06 * (upper - lower))
    low, high = max(-1.0, min(0.0, lower) - pad), min(1.0, max(0.0, upper) + pad)

    def at(value: float) -> str:
        return f"{3 + 94 * (value - low) / (high - low):.2f}%"

    marks = [
        text(0, 12, "note", "◀ current is better"),
        text("100%", 12, "note end", "candidate is better ▶"),
    ]
    for value in ticks(low, high):
        zero = abs(value) < 1e-9
        marks.append(
            line(at(value), 20, at(value), DIFFERENCE_HEIGHT - 24, "zero" if zero else "grid")
        )
        marks.append(
            text(at(value), DIFFERENCE_HEIGHT - 8, "tick middle", points(value).replace(".0", ""))
        )
    tooltip = f"{points(lower)} to {points(upper)} points"
    marks += [
        Markup('<g class="{}"><title>{}</title>').format(_KINDS[evidence.verdict], tooltip),
        line(at(lower), MIDDLE, at(upper), MIDDLE, "whisker"),
        line(at(lower), MIDDLE - 7, at(lower), MIDDLE + 7, "whisker"),
        line(at(upper), MIDDLE - 7, at(upper), MIDDLE + 7, "whisker"),
    ]
    if evidence.estimate is not None:
        x = at(min(max(evidence.estimate, low), high))
        marks.append(Markup('<circle cx="{}" cy="{}" r="6"/>').format(x, MIDDLE))
    marks.append(Markup("</g>"))
    label = f"Difference in accuracy, candidate less current version: {tooltip}"
    return Drawing(width=WIDTH, height=DIFFERENCE_HEIGHT, label=label, marks=marks, fluid=True)


def course_plot(course: Sequence[CoursePoint]) -> Drawing:
    """Draw at least two points; labels grow by factors from left to right."""
    first, last = course[0].labels, course[-1].labels
    recent = [point for point in course if RECENT * point.labels >= last]
    low = min(0.0, *(point.lower for point in recent)) - 0.01
    high = max(0.0, *(point.upper for point in recent)) + 0.01

    def across(labels: int) -> float:
        share = log(labels / first) / log(last / first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def down(value: float) -> float:
        share = (high - min(max(value, low), high)) / (high - low)
        return round(TOP + share * (COURSE_HEIGHT - TOP - BOTTOM), 1)

    marks = []
    for value in ticks(low, high, 5):
        kind = "zero" if abs(value) < 1e-9 else "grid"
        marks.append(line(LEFT, down(value), WIDTH - RIGHT, down(value), kind))
        name = points(value).replace(".0", "")
        marks.append(text(LEFT - 8, down(value) + 4, "tick end", name))
    upper = [f"{across(one.labels)} {down(one.upper)}" for one in course]
    lower = [f"{across(one.labels)} {down(one.lower)}" for one in course]
    middle = [f"{across(one.labels)} {down(one.estimate)}" for one in course]
    marks.append(Markup('<path d="M{}Z" class="band"/>').format("L".join(upper + lower[::-1])))
    marks.append(Markup('<path d="M{}" class="curve"/>').format("L".join(middle)))
    for one in course:
        marks.append(
            Markup('<circle cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
                across(one.labels), down(one.estimate), _told(one)
            )
        )
    for one, place in ((course[0], "tick"), (course[-1], "tick end")):
        marks.append(text(across(one.labels), COURSE_HEIGHT - 8, place, _labels(one)))
    label = f"Difference in accuracy from {_told(course[0])} to {_told(course[-1])}"
    return Drawing(width=WIDTH, height=COURSE_HEIGHT, label=label, marks=marks)


def _told(point: CoursePoint) -> str:
    return (
        f"{points(point.estimate)} points ({points(point.lower)} to {points(point.upper)}) "
        f"by {_labels(point)}"
    )


def _labels(point: CoursePoint) -> str:
    return f"{whole(point.labels)} label{'s' if point.labels > 1 else ''}"
