"""Preconditions by If-Match and If-None-Match (RFC 9110, 13.1)."""

import re
from collections.abc import Callable

from core.errors import PreconditionRequired, StaleRevision

ANY = "*"
_TAG = re.compile(r'(W/)?"([^"]*)"')
_LIST = re.compile(rf"[ \t,]*(?:{_TAG.pattern}(?:[ \t,]+|$))*")
_REVISION = re.compile(r"[1-9][0-9]{0,8}")  # revisions count from 1


def etag(revision: int) -> str:
    """Return the entity tag of a revision."""
    return f'"{revision}"'


def matches_etag(if_none_match: str | None, tag: str) -> bool:
    """Return True if an If-None-Match header names this entity tag, or any."""
    if if_none_match is None:
        return False
    held = {opaque for _, opaque in _tags(if_none_match)}  # weak comparison
    return if_none_match.strip() == ANY or tag.strip('"') in held


def expected_revision(
    if_match: str | None, if_none_match: str | None, present: Callable[[], int]
) -> int:
    """Return the revision that a change expects to find, 0 if it expects none.

    `present` reads the present revision, for `*` and for lists. Raises PreconditionRequired
    without either header or for an If-None-Match other than `*`, and StaleRevision when no tag of
    the list is that of the present revision.
    """
    if if_none_match is not None:
        if if_none_match.strip() != ANY:
            raise PreconditionRequired(
                "Here, If-None-Match must be *: it creates the alias only if there is none."
            )
        return 0
    if if_match is None:
        raise PreconditionRequired
    if if_match.strip() == ANY:
        return present()
    tags = [tag for weak, tag in _tags(if_match) if not weak]  # strong comparison
    revisions = {int(tag) for tag in tags if _REVISION.fullmatch(tag)}
    if len(revisions) == 1:
        return revisions.pop()
    if not revisions or (revision := present()) not in revisions:
        raise StaleRevision(if_match=if_match[:40])
    return revision


def _tags(header: str) -> list[tuple[str, str]]:
    """Return each entity tag as `W/` or "" and its opaque part; nothing for a malformed list."""
    return _TAG.findall(header) if _LIST.fullmatch(header) else []
