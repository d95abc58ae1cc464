"""Marks of inline SVG, coloured by the page's style sheet; all text is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A drawing of marks, described by its label. It is its own markup where a page shows it."""

    width: float
    height: float
    label: str
    marks: Sequence[Markup]
    role: str = "img"  # "group" for a drawing with links

    def __html__(self) -> str:
        """Return the drawing for a page, which scales it to the space that there is."""
        return self._markup("")

    def at(self, x: float, y: float) -> Markup:
        """Return the drawing at a place in another one, in its own size."""
        return self._markup(Markup('x="{}" y="{}" height="{}" ').format(x, y, self.height))

    def _markup(self, place: str) -> Markup:
        start = Markup('<svg {}viewBox="0 0 {} {}" width="{}" role="{}" aria-label="{}">').format(
            place, self.width, self.height, self.width, self.role, self.label
        )
        return start + Markup().join(self.marks) + Markup("</svg>")


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
