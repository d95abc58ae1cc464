"""The distributions that a requirement brings, as installed."""

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def installed_for(requirements: Iterable[str]) -> dict[str, list[Requirement]]:
    """Every distribution that these requirements bring, with what is asked of each."""
    found: dict[str, list[Requirement]] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        known = found.setdefault(name, [])
        if str(asked) in map(str, known):
            continue
        known.append(asked)
        waiting += _dependencies_of(asked)
    return found


def _dependencies_of(asked: Requirement) -> Iterator[Requirement]:
    try:
        texts = requires(asked.name) or []
    except PackageNotFoundError:
        return
    for needed in map(Requirement, texts):
        extras = asked.extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
            yield needed
