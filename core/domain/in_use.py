"""The refusal to delete something that is in use."""

from collections.abc import Sequence
from typing import Any

from core.errors import InUse

_SENTENCES = {
    "aliases": "Aliases that point at it",
    "trials": "Trials that run with it",
    "descendants": "Versions that were trained from it",
    "jobs": "Unfinished jobs that need it",
    "versions": "Versions of models that learned from it",
    "suites": "Suites that were made of it",
    "replaced": "Versions with erased images that it replaces",
}


def require_unused(what: str, **uses: Sequence[object]) -> None:
    """Raise InUse, which names every use, unless there is none.

    `uses` are aliases, trials, descendants, jobs, versions, suites or versions that it replaces, by
    name, number or id.
    """
    found = {kind: list(names) for kind, names in uses.items() if names}
    if found:
        sentences = (
            f"{_SENTENCES[kind]}: {', '.join(map(str, names))}." for kind, names in found.items()
        )
        facts: dict[str, Any] = found
        raise InUse(" ".join((f"{what} cannot be deleted.", *sentences)), **facts)
