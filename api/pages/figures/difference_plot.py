"""The difference between two versions' accuracies with its interval, as inline SVG."""

from markupsafe import Markup

from api.pages.numbers import points, ticks
from api.pages.svg import Drawing, line, text
from core.domain.trials.evidence import Evidence, TrialVerdict

WIDTH, HEIGHT, MARGIN, MIDDLE = 760, 96, 24, 42
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

    def at(value: float) -> float:
        return round(MARGIN + (value - low) / (high - low) * (WIDTH - 2 * MARGIN), 1)

    marks = [
        text(MARGIN, 12, "note", "◀ the current version is better"),
        text(WIDTH - MARGIN, 12, "note end", "the candidate is better ▶"),
    ]
    for value in ticks(low, high):
        zero = abs(value) < 1e-9
        marks.append(line(at(value), 20, at(value), HEIGHT - 24, "zero" if zero else "grid"))
        marks.append(text(at(value), HEIGHT - 8, "tick middle", points(value).replace(".0", "")))
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
    return Drawing(width=WIDTH, height=HEIGHT, label=label, marks=marks)
