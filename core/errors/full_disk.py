"""Recognition of the system's error for a full disk."""

import errno

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether this error, or any that it was raised from, is the system's 'disk full'."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False
