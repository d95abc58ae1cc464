"""The accuracy matrix as a heat map of inline SVG."""

from collections.abc import Sequence

from markupsafe import Markup

from api.pages.numbers import percent
from api.pages.svg import Drawing, text
from core.domain.evaluation.report_sections import MatrixRow, Task


def matrix_plot(tasks: Sequence[Task], rows: Sequence[MatrixRow], root: int) -> Drawing:
    """Draw the accuracy matrix, in percent, as a heat map: rows are versions, columns updates."""
    wide, high, left, top = 92, 40, 150, 30
    marks = [
        text(left + column * wide + wide / 2, 18, "tick middle", f"update {task.version}")
        for column, task in enumerate(tasks)
    ]
    for index, row in enumerate(rows):
        y = top + index * high
        name = f"version {row.version}" + (" (root)" if row.version == root else "")
        marks.append(text(left - 14, y + high / 2 + 5, "name end", name))
        for column, task in enumerate(tasks):
            cell = row.macro[column]
            x = left + column * wide
            tooltip = f"version {row.version} on the holdout of update {task.version}"
            kind = "cell own" if task.version == row.version else "cell"
            marks.append(_cell(x, y, (wide, high), cell, kind, tooltip))
    return Drawing(
        width=left + wide * len(tasks) + 10,
        height=top + high * len(rows) + 6,
        label="Accuracy of each version on the holdout of each update",
        marks=marks,
    )


def _cell(
    x: float, y: float, size: tuple[int, int], value: float | None, kind: str, tooltip: str
) -> Markup:
    shade = 0 if value is None else round(0.08 + 0.92 * value, 3)
    ink = "on-dark" if shade > 0.55 else "on-light"
    return Markup(
        '<g><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="4" class="{}" '
        'fill-opacity="{}"/><text x="{}" y="{}" class="number middle {}">{}</text></g>'
    ).format(
        tooltip,
        x + 2,
        y + 2,
        size[0] - 4,
        size[1] - 4,
        kind,
        shade,
        x + size[0] / 2,
        y + size[1] / 2 + 5,
        ink,
        percent(value),
    )
