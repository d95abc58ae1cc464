"""A signed confusion matrix as inline SVG, whose cells lead to their images."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from api.pages.plots import Drawing, cut, text
from api.pages.rendering import isolate
from core.comparison.answers import Confusion, ConfusionTable

CLASSES = 12  # rows, and columns
LEFT, TOP, WIDE, HIGH = 170, 104, 52, 30
LONGEST = 22  # characters of a name


def confusion_plot(table: ConfusionTable, href: Callable[[Confusion], str]) -> Drawing | None:
    """Draw the cells that changed most: rows are true classes, columns what they were taken for.

    None if no confusion has changed. A cell has its sign in writing, for readers without colours.
    """
    cells = [cell for cell in table.cells if cell.predicted is not None]
    rows, columns = _most_changed(cells)
    shown = [cell for cell in cells if cell.class_name in rows and cell.predicted in columns]
    if not shown:
        return None
    most = max(abs(cell.change) for cell in shown)
    marks = [
        text(LEFT - 10, TOP + HIGH * (i + 0.5) + 4, "name end", isolate(cut(name, LONGEST)))
        for i, name in enumerate(rows)
    ]
    for i, name in enumerate(columns):
        x = LEFT + WIDE * (i + 0.5)
        marks.append(
            Markup('<text transform="translate({} {}) rotate(-40)" class="name">{}</text>').format(
                x, TOP - 8, isolate(cut(name, LONGEST))
            )
        )
    marks += [_cell(cell, rows, columns, most, href(cell)) for cell in shown]
    return Drawing(
        width=LEFT + WIDE * len(columns) + 90,
        height=TOP + HIGH * len(rows) + 6,
        role="group",
        label=f"Confusions of {table.name} that changed: rows are classes, columns what images "
        "were taken for",
        marks=marks,
    )


def _most_changed(cells: Sequence[Confusion]) -> tuple[list[str], list[str]]:
    """Return the rows and the columns of the cells that changed most, which come first."""
    rows: dict[str, None] = {}
    columns: dict[str, None] = {}
    for cell in cells:
        row, column = cell.class_name, cell.predicted or ""
        fits = len(rows | {row: None}) <= CLASSES and len(columns | {column: None}) <= CLASSES
        if fits:
            rows[row] = columns[column] = None
    return list(rows), list(columns)


def _cell(
    cell: Confusion, rows: Sequence[str], columns: Sequence[str], most: int, href: str
) -> Markup:
    x = LEFT + WIDE * columns.index(cell.predicted or "")
    y = TOP + HIGH * rows.index(cell.class_name)
    shade = round(0.1 + 0.9 * abs(cell.change) / most, 2)
    signed = f"{cell.change:+,}".replace("-", "−")
    words = (
        f"{isolate(cell.class_name)} taken for {isolate(cell.predicted or '')}: "
        f"{cell.before} before, {cell.now} now"
    )
    return Markup(
        '<a href="%s" aria-label="%s"><g class="confusion %s"><title>%s</title>'
        '<rect x="%s" y="%s" width="%s" height="%s" rx="3" fill-opacity="%s"/>'
        '<text x="%s" y="%s" class="number middle%s">%s</text></g></a>'
    ) % (
        href,
        words,
        "more" if cell.change > 0 else "fewer",
        words,
        x + 1,
        y + 1,
        WIDE - 2,
        HIGH - 2,
        shade,
        x + WIDE / 2,
        y + HIGH / 2 + 4.5,
        " strong" if shade > 0.6 else "",
        signed,
    )
