"""Flips, image by image: right before and wrong now, or the reverse."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.domain.comparison.answered_query import AnsweredQuery
from core.domain.evaluation.query import ClassAnswers, ClassQuery
from core.domain.values import Digest


class FlipKind(StrEnum):
    """The direction of a flip."""

    LOST = "lost"  # right before, wrong now: a negative flip
    GAINED = "gained"  # wrong before, right now


@dataclass(frozen=True, kw_only=True)
class Flip:
    """An image that one of two versions answered right and the other wrong.

    In a captioned suite an image is right if one of its captions ranks first of all. It has ranks
    instead of classes; they count from 0.
    """

    kind: FlipKind
    name: str  # the suite, or "version 2": the holdout of its update
    pixels: Digest
    class_name: str | None = None
    before: str | None = None  # the class predicted; None if the features were not finite
    now: str | None = None
    before_probability: float | None = None  # of the class predicted; None: it was not stored
    now_probability: float | None = None
    rank_before: int | None = None
    rank_now: int | None = None

    @property
    def key(self) -> tuple[str, Digest]:
        """The place of the flip in a list."""
        return self.name, self.pixels


def flips(answered: Iterable[AnsweredQuery]) -> list[Flip]:
    """Return all flips, sorted by suite and image."""
    found = [flip for one in answered for flip in (*_of_classes(one), *_of_captions(one))]
    return sorted(found, key=lambda flip: flip.key)


def predictions(query: ClassQuery, answers: ClassAnswers) -> Sequence[str | None]:
    """Return the class predicted for each image; None if the features were not finite."""
    names: list[str | None] = [*query.classes, None]
    return [names[index] for index in answers.predicted]


def probabilities(answers: ClassAnswers) -> Sequence[float | None]:
    """Return the probability of each predicted class; None where it was not stored."""
    return answers.probabilities or (None,) * len(answers.predicted)


def _of_classes(one: AnsweredQuery) -> Iterator[Flip]:
    if one.classes is None:
        return
    query, before, now = one.classes
    both = zip(before.hits(query), now.hits(query), strict=True)
    changed = [(place, was) for place, (was, is_right) in enumerate(both) if was != is_right]
    olds, news = predictions(query, before), predictions(query, now)
    old_probabilities, new_probabilities = probabilities(before), probabilities(now)
    for place, was in changed:
        entry = query.entries[place]
        yield Flip(
            kind=FlipKind.LOST if was else FlipKind.GAINED,
            name=one.asked.name,
            pixels=entry.pixels,
            class_name=entry.class_name,
            before=olds[place],
            now=news[place],
            before_probability=old_probabilities[place],
            now_probability=new_probabilities[place],
        )


def _of_captions(one: AnsweredQuery) -> Iterator[Flip]:
    if one.captions is None:
        return
    query, before, now = one.captions
    ranks = zip(before.image_ranks, now.image_ranks, strict=True)
    for entry, (old, new) in zip(query.entries, ranks, strict=True):
        if (old == 0) != (new == 0):
            yield Flip(
                kind=FlipKind.LOST if old == 0 else FlipKind.GAINED,
                name=one.asked.name,
                pixels=entry.pixels,
                rank_before=old,
                rank_now=new,
            )
