"""Texts in scripts that run from right to left, beside ours."""

from core.domain.values import BIDI_CONTROLS

_WITHOUT_CONTROLS = dict.fromkeys(map(ord, BIDI_CONTROLS))
_FIRST_STRONG_ISOLATE, _POP = "\u2068", "\u2069"


def isolate(text: str) -> str:
    """Return a text that cannot reorder what stands around it, in markup or out of it.

    What is uploaded today holds no bidirectional controls; what was stored before may.
    """
    if text.isascii():
        return text
    return f"{_FIRST_STRONG_ISOLATE}{text.translate(_WITHOUT_CONTROLS)}{_POP}"
