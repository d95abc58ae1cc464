"""Draw geometric figures as an image folder: `python -m benchmarks.study.figures FOLDER [COUNT]`.

Sixteen classes, each in COUNT images (160), three of four of which become
`FOLDER/figures/train/<name>/`, the others `FOLDER/figures/test/<name>/`. Each image is one figure
of another size, place, angle and pair of colours, filled or as a line of another width. Its class
and number decide it. Nothing in them is anybody's work.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from math import cos, pi, sin
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

SIZE = 64  # pixels of a side
SCALE = 4  # drawn so many times as large, and scaled down

Point = tuple[float, float]
Points = Sequence[Point]


def _polygon(corners: int, *, inner: float = 1.0, turn: float = 0.0) -> Points:
    """Return corners on the unit circle; with `inner` below 1, a star of twice as many."""
    count = corners if inner == 1 else 2 * corners
    return [
        _on_circle(2 * pi * place / count + turn, inner if place % 2 and inner != 1 else 1.0)
        for place in range(count)
    ]


def _on_circle(angle: float, radius: float = 1.0) -> Point:
    return radius * sin(angle), -radius * cos(angle)


def _curve(point: Callable[[float], Point], steps: int = 96) -> Points:
    return [point(step / steps) for step in range(steps + 1)]


def _arc(first: float, last: float, radius: float = 1.0) -> Points:
    return _curve(lambda t: _on_circle(2 * pi * (first + (last - first) * t), radius))


OUTLINES: Mapping[str, Points] = {  # closed figures
    "triangle": _polygon(3),
    "square": _polygon(4, turn=pi / 4),
    "rectangle": [(-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)],
    "rhombus": [(0, -1), (0.6, 0), (0, 1), (-0.6, 0)],
    "pentagon": _polygon(5),
    "hexagon": _polygon(6),
    "star": _polygon(5, inner=0.4),
    "cross": [
        *[(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)],
        *[(0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)],
    ],
    "arrow": [(0, -1), (0.6, -0.2), (0.2, -0.2), (0.2, 1), (-0.2, 1), (-0.2, -0.2), (-0.6, -0.2)],
    "circle": _arc(0, 1),
    "ellipse": _curve(lambda t: (cos(2 * pi * t), 0.5 * sin(2 * pi * t))),
    "horseshoe": [*_arc(0.05, 0.95), *[(x, y) for x, y in reversed(_arc(0.13, 0.87, 0.75))]],
}

LINES: Mapping[str, Points] = {  # open figures, which are never filled
    "spiral": _curve(lambda t: _on_circle(5 * pi * t, t)),
    "wave": _curve(lambda t: (2 * t - 1, 0.4 * sin(4 * pi * t))),
    "zigzag": [(-1 + place / 3, 0.4 * (-1) ** place) for place in range(7)],
    "arc": _arc(-0.25, 0.25),
}

NAMES = (*OUTLINES, *LINES)


def main(folder: Path, count: int = 160) -> None:
    """Write the images below a folder."""
    for name in NAMES:
        for number in range(count):
            split = "train" if number % 4 else "test"
            path = folder / "figures" / split / name / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(name, Random(f"{name} {number}")).save(path)


def draw(name: str, chance: Random) -> Image.Image:
    """Draw a figure on a ground of another brightness."""
    dark, light = chance.randint(0, 90), chance.randint(165, 255)
    ground, ink = chance.sample([_near(dark, chance), _near(light, chance)], 2)
    side = SIZE * SCALE
    image = Image.new("RGB", (side, side), ground)
    angle, radius = chance.uniform(-pi / 12, pi / 12), side * chance.uniform(0.22, 0.42)
    centre = [side / 2 + side * chance.uniform(-0.08, 0.08) for _ in range(2)]
    points = [
        (
            centre[0] + radius * (x * cos(angle) - y * sin(angle)),
            centre[1] + radius * (x * sin(angle) + y * cos(angle)),
        )
        for x, y in (OUTLINES.get(name) or LINES[name])
    ]
    width = round(SCALE * chance.uniform(1.5, 4))
    pen = ImageDraw.Draw(image)
    if name in OUTLINES and chance.random() < 0.5:
        pen.polygon(points, fill=ink)
    else:
        closed = [*points, *points[:2]] if name in OUTLINES else points
        pen.line(closed, fill=ink, width=width, joint="curve")
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


def _near(brightness: int, chance: Random) -> tuple[int, ...]:
    return tuple(min(255, max(0, brightness + chance.randint(-30, 30))) for _ in range(3))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
