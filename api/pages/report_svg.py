"""The plots of a forgetting report as one SVG document."""

import re
from collections.abc import Iterator
from functools import cache

from markupsafe import Markup

from api.pages.matrix_plot import matrix_plot
from api.pages.page import environment, policy_of
from api.pages.plots import WIDTH, change_plot, interval_plot
from api.pages.report_parts import change_title, gains, guarded, shown_classes
from api.pages.svg import Drawing, text
from core.domain.evaluation.report import Report
from core.domain.values import Json

MARGIN, TITLE, GAP = 24, 30, 20  # pixels
_DOCUMENT = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
    'height="{height}" role="img" aria-label="{label}" font-family="system-ui, sans-serif">'
    '<style>{style}</style><rect width="100%" height="100%" class="page"/>{marks}</svg>'
)


def report_svg(report_json: Json) -> str:
    """Return the plots of a stored report, one below the other. Raises ReportUnreadable.

    The document has no scripts and makes no requests; its style sheet is its own.
    """
    report = Report.from_json(report_json)
    label = f"{report.model}, version {report.version}: {report.verdict.value}"
    marks = [text(MARGIN, MARGIN + 14, "title", label)]
    top, right = float(MARGIN + TITLE), float(WIDTH)
    for title, plot in _plots(report):
        marks += [text(MARGIN, top + 16, "title", title), plot.at(MARGIN, top + TITLE)]
        top, right = top + TITLE + plot.height + GAP, max(right, plot.width)
    width = right + 2 * MARGIN
    return _DOCUMENT.format(
        width=width,
        height=top,
        label=label,
        style=Markup(_style()),  # noqa: S704 - a file of this package
        marks=Markup().join(marks),
    )


def svg_policy() -> str:
    """Return the content security policy of the document."""
    return policy_of(_style())


@cache
def _style() -> str:
    """Return the style sheet of the plots, in light colours.

    It has no variables, because many programs that show SVG know none.
    """
    templates = environment()
    light, _, _ = templates.get_template("colours.css").render().partition("@media")
    colours = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", light))
    marks = templates.get_template("marks.css").render()
    return re.sub(r"var\((--[a-z-]+)\)", lambda found: colours[found[1]], marks)


def _plots(report: Report) -> Iterator[tuple[str, Drawing]]:
    if found := guarded(report):
        yield "Intervals against tolerance", interval_plot(found)
    if gained := gains(report):
        yield "What was gained", interval_plot(gained)
    for table in report.changes:
        shown, count = shown_classes(table), len(table.classes)
        part = "" if len(shown) == count else f", the worst {len(shown)} of {count} classes"
        title = f"{change_title(table)}, against {table.baseline}{part}"
        yield title, change_plot(shown)
    if report.tasks:
        matrix = matrix_plot(report.tasks, report.matrix, report.root)
        yield "Accuracy of each version on each update's holdout, in percent", matrix
