"""How numbers are written on pages."""

from math import floor, log10


def percent(fraction: float | None) -> str:
    """0.6213 is "62.1"; a number that does not exist is a dash."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def points(fraction: float | None) -> str:
    """A signed difference in percentage points, with a real minus: "+3.1", "−0.4", "0.0"."""
    if fraction is None:
        return "–"
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def whole(number: int) -> str:
    """1840 is "1,840"."""
    return f"{number:,}"


def short(digest: str) -> str:
    """The first twelve characters of a digest."""
    return digest[:12]


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, about `wanted` of them."""
    raw = (high - low) / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = floor(low / step), floor(high / step)
    return [index * step for index in range(first, last + 1) if low <= index * step <= high]
