"""Marks of inline SVG, coloured by the page's style sheet; all text is escaped."""

from collections.abc import Iterable

from markupsafe import Markup


def drawing(width: float, height: float, label: str, marks: Iterable[Markup]) -> Markup:
    """Return a drawing of marks, described by its label."""
    return Markup('<svg viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>').format(
        width, height, width, label, Markup().join(marks)
    )


def text(x: float, y: float, kind: str, content: str) -> Markup:
    """Return a text; `kind` is its class in the style sheet."""
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(x, y, kind, content)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, kind)


def box(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> Markup:
    """Return a rectangle."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="{}" class="{}"/>').format(
        x, y, round(width, 2), height, radius, kind
    )
