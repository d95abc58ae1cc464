"""Rules on which versions learned from erased images, and which of them are trained again."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from core.domain.erasure.erasure import Exposure, Retraining
from core.domain.registry.version import Version


def marked(
    versions: Iterable[Version], learned: Callable[[Version], Exposure | None]
) -> dict[int, Exposure]:
    """Return how versions of one model learned from erased images, without those that did not.

    `learned` is how a version did so itself; every descendant inherits it. A parent's number is
    always lower.
    """
    found: dict[int, Exposure] = {}
    for version in sorted(versions, key=lambda version: version.number):
        if how := learned(version):
            found[version.number] = how
        elif version.parent in found:
            found[version.number] = Exposure.INHERITED
    return found


def to_retrain(
    versions: Sequence[Version],
    found: Collection[int],
    *,
    live: Collection[int],
    wanted: Retraining,
) -> list[Version]:
    """Return which of the marked versions are to be trained again, each after what it starts from.

    A version that another one replaces is not trained a second time: if that one is marked as
    well, it is. `live` are the versions that aliases point at; what replaces these and their
    ancestors is as good as they are.
    """
    if wanted is Retraining.NONE:
        return []
    by_number = {version.number: version for version in versions}
    chosen = set(found) - {version.replaces for version in versions}
    if wanted is Retraining.ALIASED:
        chosen &= _lines_of(live, by_number)
    depths = _depths(versions)  # what replaces a version is as far from the root as that is
    in_order = sorted(chosen, key=lambda number: (depths[number], number))
    return [by_number[number] for number in in_order]


def newest(number: int, versions: Iterable[Version]) -> int:
    """Return the last of the versions that replace one another, or the number itself."""
    by = {version.replaces: version.number for version in versions}
    while number in by:
        number = by[number]
    return number


def _depths(versions: Iterable[Version]) -> dict[int, int]:
    """Return how many updates are between each version and its root."""
    depths: dict[int, int] = {}
    for version in sorted(versions, key=lambda version: version.number):
        depths[version.number] = 1 + depths.get(version.parent or 0, 0)
    return depths


def _lines_of(numbers: Iterable[int], versions: Mapping[int, Version]) -> set[int]:
    """Return versions, their ancestors, and what replaces any of these."""
    line: set[int] = set()
    for number in numbers:
        step: int | None = number
        while step is not None and step not in line:
            line.add(step)
            step = versions[step].parent if step in versions else None
    for number in sorted(versions):  # a version's number is higher than that of what it replaces
        if versions[number].replaces in line:
            line.add(number)
    return line
