"""The differences between the answers of two versions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import compress

from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.paired_hits import (
    PairedHits,
    captions_of_one_a_group,
    found_within,
    one_a_group,
    top_1,
)
from core.evaluation.queries import ClassQuery, NamedQuery, RetrievalQuery
from core.evaluation.report import ChangeTable, Recall
from core.evaluation.report_tables import class_changes, recalls_by_direction
from core.gate.kinds import DEPTHS, MeasureKind
from core.gate.measures import Measure
from core.values import Digest


@dataclass(frozen=True, kw_only=True)
class AnsweredQuery:
    """A query with the answers of two versions."""

    asked: NamedQuery
    before: Answers
    now: Answers
    meanings: Mapping[str, str] = field(default_factory=dict)  # of the policy: `ClassAnswers.hits`

    @cached_property
    def hits(self) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """Return whether each answer of before, and of now, names the right class."""
        if self.classes is None:
            return (), ()
        query, before, now = self.classes
        return before.hits(query, self.meanings), now.hits(query, self.meanings)

    @property
    def classes(self) -> tuple[ClassQuery, ClassAnswers, ClassAnswers] | None:
        """The query and both answers if it asked for classes."""
        match (self.asked.query, self.before, self.now):
            case (ClassQuery() as query, ClassAnswers() as before, ClassAnswers() as now):
                return query, before, now
        return None

    @property
    def captions(self) -> tuple[RetrievalQuery, RetrievalAnswers, RetrievalAnswers] | None:
        """The query and both answers if it asked for captions."""
        match (self.asked.query, self.before, self.now):
            case (RetrievalQuery() as query, RetrievalAnswers() as old, RetrievalAnswers() as new):
                return query, old, new
        return None


# Flips, image by image and caption by caption: right before and wrong now, or the reverse.


class FlipKind(StrEnum):
    """The direction of a flip."""

    LOST = "lost"  # right before, wrong now: a negative flip
    GAINED = "gained"  # wrong before, right now


@dataclass(frozen=True, kw_only=True)
class ChangedAnswer:
    """An image that two versions answer differently."""

    pixels: Digest
    class_name: str | None = None
    before: str | None = None  # the class predicted; None if the features were not finite
    now: str | None = None
    before_probability: float | None = None  # of the class predicted; None: it was not stored
    now_probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Flip(ChangedAnswer):
    """An image, or a caption, that one of two versions answered right and the other wrong.

    In a captioned suite an image is right if one of its captions ranks first of all, and a caption
    if its image does. They have ranks instead of classes; they count from 0.
    """

    kind: FlipKind
    name: str  # the suite, or "version 2": the holdout of its update
    caption: str | None = None  # that looks for the image; None: the image looks for its captions
    place: int = 0  # of the caption among its image's, from 1
    rank_before: int | None = None
    rank_now: int | None = None

    @property
    def key(self) -> tuple[str, Digest, int]:
        """The place of the flip in a list."""
        return self.name, self.pixels, self.place


def flips(answered: Iterable[AnsweredQuery]) -> list[Flip]:
    """Return all flips, sorted by suite and image; those of its captions follow an image's."""
    found = [flip for one in answered for flip in (*_of_classes(one), *_of_captions(one))]
    return sorted(found, key=lambda flip: flip.key)


def predictions(query: ClassQuery, answers: ClassAnswers) -> Sequence[str | None]:
    """Return the class predicted for each image; None if the features were not finite."""
    names: list[str | None] = [*query.classes, None]
    return [names[index] for index in answers.predicted]


def probabilities(answers: ClassAnswers) -> Sequence[float | None]:
    """Return the probability of each predicted class; None where it was not stored."""
    return answers.probabilities or (None,) * len(answers.predicted)


def _changed_answers(
    query: ClassQuery, before: ClassAnswers, now: ClassAnswers, differs: Iterable[bool]
) -> Iterator[ChangedAnswer]:
    """Yield both answers about the images for which they are said to differ."""
    rows = zip(
        query.entries,
        predictions(query, before),
        predictions(query, now),
        probabilities(before),
        probabilities(now),
        strict=True,
    )
    for entry, old, new, old_probability, new_probability in compress(rows, differs):
        yield ChangedAnswer(
            pixels=entry.pixels,
            class_name=entry.class_name,
            before=old,
            now=new,
            before_probability=old_probability,
            now_probability=new_probability,
        )


def _of_classes(one: AnsweredQuery) -> Iterator[Flip]:
    if one.classes is None:
        return
    both = list(zip(*one.hits, strict=True))
    flipped = [was != is_right for was, is_right in both]
    lost = [was for was, is_right in both if was != is_right]
    for was, answer in zip(lost, _changed_answers(*one.classes, flipped), strict=True):
        kind = FlipKind.LOST if was else FlipKind.GAINED
        yield Flip(kind=kind, name=one.asked.name, **vars(answer))


def _of_captions(one: AnsweredQuery) -> Iterator[Flip]:
    if one.captions is None:
        return
    query, before, now = one.captions
    of_images = zip(before.image_ranks, now.image_ranks, strict=True)
    of_captions = zip(before.caption_ranks, now.caption_ranks, strict=True)
    for entry in query.entries:
        searches = [(None, *next(of_images)), *((text, *next(of_captions)) for text in entry.texts)]
        for place, (caption, old, new) in enumerate(searches):
            if (old == 0) != (new == 0):
                yield Flip(
                    kind=FlipKind.LOST if old == 0 else FlipKind.GAINED,
                    name=one.asked.name,
                    pixels=entry.pixels,
                    caption=caption,
                    place=place,
                    rank_before=old,
                    rank_now=new,
                )


# The images behind a cell of a confusion matrix that changed.


def cell_images(one: AnsweredQuery, class_name: str, predicted: str) -> list[ChangedAnswer]:
    """Return the images of a class that one of two versions, and not the other, took for another.

    Their number, those of now less those of before, is the change of the cell.
    """
    if one.classes is None:
        return []
    query, before, now = one.classes
    rows = zip(query.entries, predictions(query, before), predictions(query, now), strict=True)
    differs = (
        entry.class_name == class_name and (old == predicted) != (new == predicted)
        for entry, old, new in rows
    )
    return list(_changed_answers(*one.classes, differs))


# Confusions between classes that two versions make differently often.


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A cell of the confusion matrix off its diagonal: images of a class taken for another."""

    class_name: str
    predicted: str | None  # None: the features were not finite
    before: int
    now: int
    change: int


@dataclass(frozen=True, kw_only=True)
class ConfusionTable:
    """The cells of a suite or holdout that changed, largest change first."""

    name: str  # the suite, or "version 2": the holdout of its update
    cells: tuple[Confusion, ...]


def confusion_table(one: AnsweredQuery) -> ConfusionTable | None:
    """Return the signed confusion matrix without its zeros; None if no classes were asked."""
    if one.classes is None:
        return None
    query, before, now = one.classes
    was, is_now = one.hits
    old, new = _confusions(query, before, was), _confusions(query, now, is_now)
    cells = [
        Confusion(
            class_name=cell[0],
            predicted=cell[1],
            before=old[cell],
            now=new[cell],
            change=new[cell] - old[cell],
        )
        for cell in {**old, **new}
        if new[cell] != old[cell]
    ]
    cells.sort(key=lambda cell: (-abs(cell.change), cell.class_name, cell.predicted or ""))
    return ConfusionTable(name=one.asked.name, cells=tuple(cells))


def _confusions(
    query: ClassQuery, answers: ClassAnswers, hits: Sequence[bool]
) -> Counter[tuple[str, str | None]]:
    """Count the wrong answers by class and prediction."""
    rows = zip(query.entries, predictions(query, answers), hits, strict=True)
    return Counter((entry.class_name, name) for entry, name, right in rows if not right)


# The measures of a comparison: the gate's paired statistics, without tolerances.


def measures(answered: Sequence[AnsweredQuery], *, before: int, alpha: float) -> Iterator[Measure]:
    """Yield the measures of each query: all answers, then those that were right before.

    Near-duplicates count once. Several holdouts are also measured together.
    """
    for one in answered:
        images = len(one.asked.query.entries)
        for kind, depth, hits in _hits(one):
            yield _measure(kind, one.asked.name, before, hits, images, alpha, depth=depth)
            if any(hits.before) and depth == 1:
                right = hits.formerly_right
                yield _measure(kind, one.asked.name, before, right, images, alpha, flips=True)
    holdouts = [one for one in answered if one.asked.holdout and one.classes]
    if len(holdouts) > 1:
        together = _paired(holdouts)
        name, images = f"{len(holdouts)} updates", len(together.now)
        yield _measure(MeasureKind.HOLDOUTS, name, before, together, images, alpha)


def _measure(
    kind: MeasureKind,
    name: str,
    before: int,
    hits: PairedHits,
    images: int,
    alpha: float,
    *,
    flips: bool = False,
    depth: int = 1,
) -> Measure:
    return Measure.of(
        kind,
        name=name,
        baseline=f"version {before}",
        baseline_version=before,
        tolerance=0.0,  # unused: nothing is judged
        images=images,
        now=hits.now,
        before=hits.before,
        design_effect=hits.design_effect(alpha),
        alpha=alpha,
        formerly_right=flips,
        depth=depth,
    )


def _hits(one: AnsweredQuery) -> Iterator[tuple[MeasureKind, int, PairedHits]]:
    """Yield the hits by kind and, of captions, by how many that are found first count."""
    if one.classes is not None:
        yield one.asked.kind, 1, _paired([one])
    if one.captions is not None:
        captioned, old, new = one.captions
        for depth in DEPTHS:
            for way, hits in found_within(captioned, depth, now=new, before=old):
                yield way, depth, captions_of_one_a_group([(captioned, hits)], way)


def _paired(several: Sequence[AnsweredQuery]) -> PairedHits:
    found = [
        (one.classes[0], top_1(one.classes[0], before=one.hits[0], now=one.hits[1]))
        for one in several
        if one.classes
    ]
    return one_a_group(found, by_class=several[0].asked.holdout)


# The comparison of two versions by what both have answered.

BEFORE, NOW = "before", "now"
FURTHEST = 10  # images and captions that fell, as a comparison names them


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The changes from one version to another; nothing is judged."""

    before: int
    now: int
    alpha: float  # one-sided error of each bound
    flips: tuple[Flip, ...]  # over all suites and holdouts, sorted by suite and image
    measures: tuple[Measure, ...]
    changes: tuple[ChangeTable, ...]  # classes worst first
    confusions: tuple[ConfusionTable, ...]
    recalls: tuple[Recall, ...]

    @property
    def lost(self) -> int:
        """The number of images and captions that were right and are wrong."""
        return sum(flip.kind is FlipKind.LOST for flip in self.flips)

    @property
    def gained(self) -> int:
        """The number of images and captions that were wrong and are right."""
        return len(self.flips) - self.lost

    @property
    def fallen(self) -> tuple[Flip, ...]:
        """The images and captions that fell furthest from the first place, of captioned suites."""
        lost = [flip for flip in self.flips if flip.kind is FlipKind.LOST and flip.rank_now]
        lost.sort(key=lambda flip: -(flip.rank_now or 0))
        return tuple(lost[:FURTHEST])


def compare(
    answered: Sequence[AnsweredQuery], *, before: int, now: int, alpha: float
) -> Comparison:
    """Return the comparison of two versions, named by their numbers."""
    return Comparison(
        before=before,
        now=now,
        alpha=alpha,
        flips=tuple(flips(answered)),
        measures=tuple(measures(answered, before=before, alpha=alpha)),
        changes=tuple(_changes(answered, before, alpha)),
        confusions=tuple(table for one in answered if (table := confusion_table(one))),
        recalls=tuple(_recalls(answered, before, now)),
    )


def _changes(answered: Sequence[AnsweredQuery], before: int, alpha: float) -> Iterator[ChangeTable]:
    for one in answered:
        if one.classes is None:
            continue
        query, (old, new) = one.classes[0], one.hits
        yield ChangeTable(
            kind=one.asked.kind,
            name=one.asked.name,
            baseline=f"version {before}",
            baseline_version=before,
            classes=class_changes(query, now=new, before=old, alpha=alpha),
        )


def _recalls(answered: Sequence[AnsweredQuery], before: int, now: int) -> Iterator[Recall]:
    for one in answered:
        if one.captions is None:
            continue
        query, old, new = one.captions
        for role, number, ranks in ((BEFORE, before, old), (NOW, now, new)):
            yield from recalls_by_direction(
                ranks, suite=one.asked.name, role=role, version=number, gallery=query
            )
