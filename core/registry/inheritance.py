"""The updates that a live version answers for: those of its own line and of what it replaced.

A version that replaces another one from a different line was asked about that one's classes then.
Who replaces it is asked about them again: otherwise two replacements would lose what one may not.
A rollback and a return to the same version change nothing in this.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from core.database.work import Work
from core.registry.alias_rows import Aliases
from core.registry.aliases import AliasMove, MoveKind, live_stack, since_created
from core.registry.version_rows import Versions
from core.registry.versions import Descent, Version


def inheritance(work: Work, live: Version, alias: str) -> frozenset[int]:
    """Return the numbers of a live version, of what it replaced as `alias`, and all ancestors.

    A rollback gives back what was live then: what is rolled back is no longer inherited, until the
    alias comes back to it or to a descendant.
    """
    descents = work[Versions].descents(live.model)
    history = work[Aliases].history(live.model, alias)
    return answered_for({live.number, *live_stack(history)}, replaced_by(history), descents)


def replaced_by(history: Sequence[AliasMove]) -> Mapping[int, set[int]]:
    """Return what each version that an alias was promoted to has ever replaced there.

    Moves by override are left out, as their reasons say what is given up: what these replaced is
    inherited until they are rolled back, and not again later.
    """
    found: dict[int, set[int]] = {}
    for row in since_created(history):
        if row.kind is not MoveKind.PROMOTED or row.override:
            continue
        if row.to_version is not None and row.from_version is not None:
            found.setdefault(row.to_version, set()).add(row.from_version)
    return found


def answered_for(
    numbers: Iterable[int], replaced: Mapping[int, set[int]], descents: Mapping[int, Descent]
) -> frozenset[int]:
    """Return versions, their ancestors, what any of these ever replaced, and so on.

    A version that was trained in another one's place answers for that one, too.
    """
    found: set[int] = set()
    waiting: list[int | None] = [*numbers]
    while waiting:
        number = waiting.pop()
        if number is not None and number not in found:
            found.add(number)
            descent = descents[number]
            waiting += [descent.parent, descent.replaces, *replaced.get(number, ())]
    return frozenset(found)


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
