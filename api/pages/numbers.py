"""Formats of numbers on pages."""

from math import floor, log10


def percent(fraction: float | None) -> str:
    """Format a fraction in percent: 0.6213 as "62.1", None as a dash."""
    return "–" if fraction is None else f"{100 * fraction:.1f}"


def small_percent(fraction: float) -> str:
    """Format a small fraction in percent with two digits that count: 0.000495 as "0.05"."""
    return f"{100 * fraction:.2g}"


def points(fraction: float | None) -> str:
    """Format a difference in percentage points: "+3.1", "−0.4", "0.0"; None as a dash.

    Negative numbers have a minus sign (U+2212), not a hyphen.
    """
    if fraction is None:
        return "–"
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def whole(number: int) -> str:
    """Format an integer with thousands separators: 1840 as "1,840"."""
    return f"{number:,}"


def short(digest: str) -> str:
    """Return the first twelve characters of a digest."""
    return digest[:12]


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Return about `wanted` round numbers from `low` to `high`, for the ticks of an axis."""
    raw = (high - low) / wanted
    power = 10.0 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = floor(low / step), floor(high / step)
    return [index * step for index in range(first, last + 1) if low <= index * step <= high]
