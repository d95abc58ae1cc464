"""Content negotiation by the Accept header (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

from core.errors import NotAcceptable


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type that an Accept header prefers; on a tie, the first offered.

    Raises NotAcceptable when the header accepts none of them.
    """
    ranges = [_parse_range(item) for item in (accept or "*/*").split(",") if item.strip()]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(offered=list(offered))
    return best


def _parse_range(item: str) -> tuple[str, float]:
    name, *options = (piece.strip() for piece in item.split(";"))
    quality = next((option[2:] for option in options if option.startswith("q=")), "1")
    try:
        return name.lower(), float(quality)
    except ValueError:
        return name.lower(), 0.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality that the most specific matching range gives, 0 without a match."""
    family = media_type.partition("/")[0] + "/*"
    for wanted in (media_type, family, "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
