"""Times as people tell them."""

from datetime import UTC, datetime

_UNITS = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"))


def age(then: datetime, now: datetime) -> str:
    """Return how long ago a time was: "just now", "5 minutes ago", "3 days ago"."""
    seconds = (now - then).total_seconds()
    if seconds < 60:
        return "just now"
    for size, unit in (*_UNITS, (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Return a duration: "0.4 s", "38 s", "4 min 5 s", "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def clock(then: datetime) -> str:
    """Return a time in UTC to the minute: "2026-11-26 13:48"."""
    return f"{then.astimezone(UTC):%Y-%m-%d %H:%M}"
