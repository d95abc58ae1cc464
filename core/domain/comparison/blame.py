"""The accuracy of a class along a line of versions, and the update after which it fell most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from core.domain.comparison.answered_query import NamedQuery
from core.domain.evaluation.query import ClassAnswers, ClassQuery
from core.domain.evaluation.report_tables import class_change
from core.domain.evaluation.results import AnswersByQuery
from core.domain.gate.intervals import proportion_interval
from core.domain.gate.measure import MeasureKind
from core.domain.registry.version import Version
from core.domain.values import Digest

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
    alpha: float  # one-sided error of each bound
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
) -> Blame:
    """Return the accuracy of a class along a line, root first.

    Names are compared without case. Versions that have not answered a query are left out of its
    curve. A step compares a version with its parent image by image, on the images that both have
    answered; an image of several queries counts once.
    """
    hits = {
        (version.number, query.name): found
        for query in queries
        for version in line
        if (found := _hits(query, answers, version, class_name))
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


def asks_for(query: NamedQuery, class_name: str) -> bool:
    """Return whether a query has an image of a class."""
    wanted = class_name.lower()
    return isinstance(query.query, ClassQuery) and any(
        entry.class_name.lower() == wanted for entry in query.query.entries
    )


def _hits(
    named: NamedQuery, answers: AnswersByQuery, version: Version, class_name: str
) -> Hits | None:
    query = named.query
    found = answers.get((version.digest, query.digest))
    if not isinstance(query, ClassQuery) or not isinstance(found, ClassAnswers):
        return None
    wanted = class_name.lower()
    return {
        entry.pixels: hit
        for entry, hit in zip(query.entries, found.hits(query), strict=True)
        if entry.class_name.lower() == wanted
    }


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
    for parent, version in pairwise(line):
        pairs: dict[Digest, tuple[bool, bool]] = {}
        for name in names:
            before = hits.get((parent.number, name))
            now = hits.get((version.number, name))
            if before and now:
                pairs = {pixels: (now[pixels], old) for pixels, old in before.items()} | pairs
        if not pairs:
            continue
        change = class_change(class_name, list(pairs.values()), alpha)
        yield ClassStep(
            parent=parent.number,
            version=version.number,
            images=change.images,
            gained=change.gained,
            lost=change.lost,
            difference=change.difference,
            lower=change.lower,
            upper=change.upper,
        )
