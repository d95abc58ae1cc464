"""The distributions that a requirement brings, as installed."""

from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def installed_for(requirements: Iterable[str]) -> set[str]:
    """The names of every distribution that these requirements bring."""
    waiting, seen = [*requirements], set[str]()
    while waiting:
        text = waiting.pop()
        if text in seen:
            continue
        seen.add(text)
        asked = Requirement(text)
        with suppress(PackageNotFoundError):
            for needed in map(Requirement, requires(asked.name) or []):
                extras = asked.extras or {""}
                if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                    waiting.append(str(needed))
    return {canonicalize_name(Requirement(text).name) for text in seen}
