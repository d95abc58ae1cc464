"""Isolation of right-to-left text within left-to-right text."""

from core.domain.values import BIDI_CONTROLS

_WITHOUT_CONTROLS = dict.fromkeys(map(ord, BIDI_CONTROLS))
_FIRST_STRONG_ISOLATE, _POP = "\u2068", "\u2069"


def isolate(text: str) -> str:
    """Return the text so that it cannot reorder the text around it, in markup or plain text.

    Uploads with bidirectional controls are refused today, but text stored by earlier releases may
    contain them: they are removed.
    """
    if text.isascii():
        return text
    return f"{_FIRST_STRONG_ISOLATE}{text.translate(_WITHOUT_CONTROLS)}{_POP}"
