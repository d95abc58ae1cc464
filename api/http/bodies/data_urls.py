"""Images in `data:` URLs (RFC 2397)."""

import re
from base64 import b64decode

from core.errors import FieldInvalid, FileTooLarge

_URL = re.compile(r"data:[\w.+-]*/[\w.+-]*[;,]", flags=re.ASCII | re.IGNORECASE)
_IMAGE = re.compile(r"data:image/[\w.+-]+(;[\w.+=-]+)*;base64,", flags=re.ASCII | re.IGNORECASE)


def is_data_url(text: str) -> bool:
    """Return whether a text is a URL that holds a file."""
    return _URL.match(text) is not None


def image_of(url: str, *, max_bytes: int) -> bytes:
    """Return the image file in a URL. Raises FieldInvalid, and FileTooLarge beyond `max_bytes`."""
    head = _IMAGE.match(url)
    if head is None:
        raise FieldInvalid("A data URL must be one of an image: data:image/png;base64,...")
    if (len(url) - head.end()) // 4 * 3 - 2 > max_bytes:
        raise FileTooLarge
    try:
        return b64decode(url[head.end() :], validate=True)
    except ValueError as error:
        raise FieldInvalid("The data URL's base64 is not valid.") from error
