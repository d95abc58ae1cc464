"""The course of a trial by its labels, as inline SVG: the difference within its interval."""

from collections.abc import Sequence
from math import log

from markupsafe import Markup

from api.pages.numbers import points, ticks, whole
from api.pages.svg import Drawing, line, text
from core.domain.trials.course import CoursePoint

WIDTH, HEIGHT = 760, 220
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 14, 30
RECENT = 8  # the axis suits the points from an eighth of the labels on; earlier ones are cut


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
        return round(TOP + share * (HEIGHT - TOP - BOTTOM), 1)

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
        marks.append(text(across(one.labels), HEIGHT - 8, place, _labels(one)))
    label = f"Difference in accuracy from {_told(course[0])} to {_told(course[-1])}"
    return Drawing(width=WIDTH, height=HEIGHT, label=label, marks=marks)


def _told(point: CoursePoint) -> str:
    return (
        f"{points(point.estimate)} points ({points(point.lower)} to {points(point.upper)}) "
        f"by {_labels(point)}"
    )


def _labels(point: CoursePoint) -> str:
    return f"{whole(point.labels)} label{'s' if point.labels > 1 else ''}"
