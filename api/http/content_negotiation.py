"""Which form of a thing a client wants to see."""

from collections.abc import Sequence

from core.errors import NotAcceptable


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that an Accept header likes best; on a tie the first offered.

    Raises NotAcceptable.
    """
    ranges = [_range(item) for item in (accept or "*/*").split(",") if item.strip()]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(offered=list(offered))
    return best


def _range(item: str) -> tuple[str, float]:
    name, *options = (piece.strip() for piece in item.split(";"))
    quality = next((option[2:] for option in options if option.startswith("q=")), "1")
    try:
        return name.lower(), float(quality)
    except ValueError:
        return name.lower(), 0.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality that the most special matching range gives."""
    family = media_type.partition("/")[0] + "/*"
    for wanted in (media_type, family, "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
