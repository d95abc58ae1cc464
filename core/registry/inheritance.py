"""The updates that a live version answers for: those of its own line and of what it replaced.

A version that replaces another one from a different line was asked about that one's classes then.
Who replaces it is asked about them again: otherwise two replacements would lose what one may not.
"""

from collections.abc import Collection, Mapping

from core.database.work import Work
from core.registry.alias_rows import Aliases
from core.registry.aliases import live_stack
from core.registry.version_rows import Versions
from core.registry.versions import Descent, Version


def inheritance(work: Work, live: Version, alias: str) -> frozenset[int]:
    """Return the numbers of a live version, of what it replaced as `alias`, and all ancestors.

    A rollback gives back what was live then: what is rolled back is no longer inherited.
    """
    descents = work[Versions].descents(live.model)
    replaced = live_stack(work[Aliases].history(live.model, alias))
    return frozenset().union(*(line_of(descents, number) for number in (live.number, *replaced)))


def lost_updates(work: Work, version: Version, live: Version, alias: str) -> tuple[Version, ...]:
    """Return the versions whose updates a live version inherits and `version` lacks, oldest first.

    Deleted versions are left out, as what they held out is not known any more, and so are those
    that were replaced and of which `version` has the repetition without erased images.
    """
    descents = work[Versions].descents(version.model)
    own, lines = line_of(descents, version.number), line_of(descents, live.number)
    place = places(descents)
    repeated = {place[number] for number in own}
    lost = {
        number
        for number in inheritance(work, live, alias) - own
        if number in lines or place[number] not in repeated
    }
    return tuple(found for _, found in sorted(work[Versions].some(version.model, lost).items()))


def is_ancestor(work: Work, version: Version, other: Version) -> bool:
    """Return whether another version descends from a version."""
    line = line_of(work[Versions].descents(version.model), other.number)
    return version.number in line - {other.number}


def line_of(descents: Mapping[int, Descent], number: int) -> frozenset[int]:
    """Return the numbers of a version and of its ancestors."""
    found = set()
    before: int | None = number
    while before is not None:
        found.add(before)
        before = descents[before].parent
    return frozenset(found)


def with_repetitions(numbers: Collection[int], descents: Mapping[int, Descent]) -> set[int]:
    """Return versions, and those that were trained in their place without erased images."""
    found = {*numbers}
    for number in sorted(descents):  # higher than that of what it replaces
        if descents[number].replaces in found:
            found.add(number)
    return found


def places(descents: Mapping[int, Descent]) -> Mapping[int, int]:
    """Return each version's place in its line: its number, or the place of what it replaces."""
    found: dict[int, int] = {}
    for number in sorted(descents):  # higher than that of what it replaces
        found[number] = found.get(descents[number].replaces or 0, number)
    return found
