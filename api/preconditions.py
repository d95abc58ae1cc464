"""If-Match and If-None-Match on things that have a revision."""

import re

from core.errors import PreconditionRequired, StaleRevision

ANY = "*"
_STRONG = re.compile(r'"([1-9][0-9]{0,8})"')  # revisions count from 1


def etag(revision: int) -> str:
    """The entity tag of a revision."""
    return f'"{revision}"'


def expected_revision(if_match: str | None, if_none_match: str | None) -> int | None:
    """The revision a caller decided on: 0 for "none yet", None for "whatever there is".

    Raises PreconditionRequired without either header, and StaleRevision for a tag that no
    revision of ours ever had.
    """
    if if_none_match is not None:
        if if_none_match.strip() != ANY:
            raise PreconditionRequired("If-None-Match takes * here: create, or leave alone.")
        return 0
    if if_match is None:
        raise PreconditionRequired
    tag = if_match.strip()
    if tag == ANY:
        return None
    found = _STRONG.fullmatch(tag)
    if found is None:
        raise StaleRevision(if_match=tag[:40])
    return int(found[1])
