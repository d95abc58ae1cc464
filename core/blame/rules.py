"""The update, and the images, that made a version forget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from core.datasets.image_lists import ImageGroup
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import NO_MEANINGS, ClassQuery, NamedQuery, meaning_of
from core.evaluation.report import Change
from core.evaluation.report_tables import class_change
from core.evaluation.results import AnswersByQuery
from core.gate.intervals import proportion_interval
from core.gate.kinds import MeasureKind
from core.registry.versions import Version
from core.values import Digest, counted

# The accuracy of a class along a line of versions, and the update after which it fell most.

Hits = Mapping[Digest, bool]  # whether each image of the class was right


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """A version's accuracy on the class's images in one suite or holdout."""

    version: int
    images: int
    right: int
    accuracy: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class ClassCurve:
    """The accuracy of a class in one suite or holdout, version by version."""

    kind: MeasureKind
    name: str
    scores: tuple[ClassScore, ...]


@dataclass(frozen=True, kw_only=True)
class ClassStep:
    """The change of a class from a version's parent to the version, over all its test images."""

    parent: int
    version: int
    images: int
    gained: int
    lost: int
    difference: float
    lower: float
    upper: float

    @property
    def clear(self) -> bool:
        """True if the whole interval is below zero."""
        return self.upper < 0


@dataclass(frozen=True, kw_only=True)
class Blame:
    """The accuracy of a class along a line of versions, and its changes."""

    class_name: str
    alpha: float  # one-sided error of each bound, but of all steps' bounds of a kind together
    curves: tuple[ClassCurve, ...]
    steps: tuple[ClassStep, ...]
    fell: ClassStep | None  # the step with the largest loss; None if no step lost


def blame(
    line: Sequence[Version],
    class_name: str,
    queries: Sequence[NamedQuery],
    answers: AnswersByQuery,
    *,
    alpha: float,
    meanings: Mapping[str, str] = NO_MEANINGS,
) -> Blame:
    """Return the accuracy of a class along a line, root first.

    Names are compared without case, and those are one that the policy calls the same (`meanings`,
    as in `ClassAnswers.hits`). Versions that have not answered a query are left out of its
    curve. A step compares a version with its parent image by image, on the images that both have
    answered; an image of several queries counts once. The steps share the error `alpha` evenly, so
    that one of many is not blamed by chance.
    """
    hits = {
        (version.number, query.name): found
        for query in queries
        for version in line
        if (found := _hits_of_version(query, answers, version, class_name, meanings))
    }
    curves = [
        ClassCurve(
            kind=query.kind,
            name=query.name,
            scores=tuple(
                _score(version.number, found, alpha)
                for version in line
                if (found := hits.get((version.number, query.name)))
            ),
        )
        for query in queries
    ]
    steps = tuple(_steps(line, class_name, [query.name for query in queries], hits, alpha))
    losses = [step for step in steps if step.difference < 0]
    return Blame(
        class_name=class_name,
        alpha=alpha,
        curves=tuple(curve for curve in curves if curve.scores),
        steps=steps,
        fell=min(losses, key=lambda step: (step.difference, step.upper), default=None),
    )


def _hits_of_version(
    named: NamedQuery,
    answers: AnswersByQuery,
    version: Version,
    class_name: str,
    meanings: Mapping[str, str],
) -> Hits | None:
    query = named.query
    found = answers.get((version.digest, query.digest))
    if not isinstance(query, ClassQuery) or not isinstance(found, ClassAnswers):
        return None
    return _hits_on_class([(query, found)], class_name, meanings)


def _score(version: int, hits: Hits, alpha: float) -> ClassScore:
    right, images = sum(hits.values()), len(hits)
    interval = proportion_interval(right, images, alpha)
    return ClassScore(
        version=version,
        images=images,
        right=right,
        accuracy=right / images,
        lower=interval.lower,
        upper=interval.upper,
    )


def _steps(
    line: Sequence[Version],
    class_name: str,
    names: Sequence[str],
    hits: Mapping[tuple[int, str], Hits],
    alpha: float,
) -> Iterator[ClassStep]:
    compared: dict[tuple[int, int], dict[Digest, tuple[bool, bool]]] = {}
    for parent, version in pairwise(line):
        pairs: dict[Digest, tuple[bool, bool]] = {}
        for name in names:
            before = hits.get((parent.number, name))
            now = hits.get((version.number, name))
            if before and now:
                pairs = {pixels: (now[pixels], old) for pixels, old in before.items()} | pairs
        if pairs:
            compared[parent.number, version.number] = pairs
    for (older, newer), pairs in compared.items():
        change = class_change(class_name, list(pairs.values()), alpha / len(compared))
        yield ClassStep(
            parent=older,
            version=newer,
            images=change.images,
            gained=change.gained,
            lost=change.lost,
            difference=change.difference,
            lower=change.lower,
            upper=change.upper,
        )


# Gains and losses of a class if an update is trained without a group of its images.

Answered = Sequence[tuple[ClassQuery, ClassAnswers]]  # by one version


@dataclass(frozen=True, kw_only=True)
class GroupChange:
    """The change of a class if an update is trained without a group of its images.

    `change` has the answers without the group as those of now, and the update's own as before.
    """

    group: int  # its number, from 1
    name: str
    change: Change

    @property
    def clear(self) -> bool:
        """True if the whole interval is above zero: the class gains without the group."""
        return self.change.lower > 0


@dataclass(frozen=True, kw_only=True)
class ClassBlame:
    """The changes of a class without each group, the largest gain first."""

    class_name: str
    images: int  # test images of the class
    right: int  # of them, by the update with all its images
    summary: str
    groups: tuple[GroupChange, ...]


def of_classes(
    query: ClassQuery,
    answers: ClassAnswers,
    wanted: Sequence[str],
    meanings: Mapping[str, str] = NO_MEANINGS,
) -> Answered:
    """Return a query's images of some classes alone, with their answers; empty without any.

    The classes that compete stay.
    """
    names = {meaning_of(name, meanings) for name in wanted}
    pairs = zip(query.entries, answers.predicted, strict=True)
    kept = [
        (entry, answer)
        for entry, answer in pairs
        if meaning_of(entry.class_name, meanings) in names
    ]
    if not kept:
        return ()
    entries, predicted = zip(*kept, strict=True)
    return ((replace(query, entries=entries), ClassAnswers(predicted=predicted)),)


def classes_that_fell(
    queries: Sequence[NamedQuery],
    answers: AnswersByQuery,
    *,
    parent: Digest,
    version: Digest,
    meanings: Mapping[str, str] = NO_MEANINGS,
) -> tuple[str, ...]:
    """Return the classes that a version has less often right than its parent, worst first.

    What both have answered counts, each image of a class once. Of several names with one meaning
    the first is told.
    """
    pairs: dict[str, dict[Digest, tuple[bool, bool]]] = {}
    names: dict[str, str] = {}
    for named in queries:
        query = named.query
        old, new = (answers.get((digest, query.digest)) for digest in (parent, version))
        if not isinstance(query, ClassQuery):
            continue
        if not isinstance(old, ClassAnswers) or not isinstance(new, ClassAnswers):
            continue
        hits = new.hits(query, meanings), old.hits(query, meanings)
        for entry, now, before in zip(query.entries, *hits, strict=True):
            meaning = meaning_of(entry.class_name, meanings)
            name = names.setdefault(meaning, entry.class_name)
            pairs.setdefault(name, {}).setdefault(entry.pixels, (now, before))
    shares = {
        name: sum(now - before for now, before in found.values()) / len(found)
        for name, found in pairs.items()
    }
    fallen = [name for name, share in shares.items() if share < 0]
    return tuple(sorted(fallen, key=lambda name: (shares[name], name)))


def blame_groups(
    class_name: str,
    groups: Sequence[ImageGroup],
    *,
    own: Answered,
    without: Sequence[Answered],
    alpha: float,
    meanings: Mapping[str, str] = NO_MEANINGS,
) -> ClassBlame:
    """Return what a class gains or loses without each group.

    `own` are the answers of the update with all its images, `without` those without each group, to
    the same queries. `alpha` is the error of all lower bounds together, so that one of many groups
    is not blamed by chance.
    """
    before = _hits_on_class(own, class_name, meanings)
    level = alpha / len(groups)
    changes = []
    for number, (group, answered) in enumerate(zip(groups, without, strict=True), start=1):
        now = _hits_on_class(answered, class_name, meanings)
        pairs = [(now[pixels], hit) for pixels, hit in before.items()]
        change = class_change(class_name, pairs, level)
        changes.append(GroupChange(group=number, name=group.name, change=change))
    changes.sort(key=lambda one: (-one.change.difference, -one.change.lower, one.group))
    worst = changes[0]
    return ClassBlame(
        class_name=class_name,
        images=len(before),
        right=sum(before.values()),
        summary=_summary(class_name, worst, len(groups[worst.group - 1].entries)),
        groups=tuple(changes),
    )


def _hits_on_class(answered: Answered, class_name: str, meanings: Mapping[str, str]) -> Hits:
    """Return whether each image of a class was right; an image of several queries counts once."""
    found: dict[Digest, bool] = {}
    wanted = meaning_of(class_name, meanings)
    for query, answers in answered:
        for entry, hit in zip(query.entries, answers.hits(query, meanings), strict=True):
            if meaning_of(entry.class_name, meanings) == wanted:
                found.setdefault(entry.pixels, hit)
    return found


def _summary(class_name: str, worst: GroupChange, images: int) -> str:
    change = worst.change
    if change.difference <= 0:
        return f"No group is to blame: {class_name!r} gains nothing if any one of them is left out."
    found = (
        f"without {counted(images, 'training image')} ({worst.name}), {change.right} of "
        f"{counted(change.images, 'test image')} of {class_name!r} are right instead of "
        f"{change.right_before}"
    )
    if worst.clear:
        return f"Look at group {worst.group} first: {found}."
    return f"No group is clearly to blame: {found}, which may be chance."
