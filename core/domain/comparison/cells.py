"""The images behind a cell of a confusion matrix that changed."""

from dataclasses import dataclass

from core.domain.comparison.answered_query import AnsweredQuery
from core.domain.comparison.flips import predictions, probabilities
from core.domain.values import Digest


@dataclass(frozen=True, kw_only=True)
class ChangedAnswer:
    """An image that two versions answer differently."""

    pixels: Digest
    class_name: str
    before: str | None  # the class predicted; None if the features were not finite
    now: str | None
    before_probability: float | None  # of the class predicted; None: it was not stored
    now_probability: float | None


def cell_images(one: AnsweredQuery, class_name: str, predicted: str) -> list[ChangedAnswer]:
    """Return the images of a class that one of two versions, and not the other, took for another.

    Their number, those of now less those of before, is the change of the cell.
    """
    if one.classes is None:
        return []
    query, before, now = one.classes
    olds = zip(predictions(query, before), probabilities(before), strict=True)
    news = zip(predictions(query, now), probabilities(now), strict=True)
    return [
        ChangedAnswer(
            pixels=entry.pixels,
            class_name=entry.class_name,
            before=old,
            now=new,
            before_probability=before_probability,
            now_probability=now_probability,
        )
        for entry, (old, before_probability), (new, now_probability) in zip(
            query.entries, olds, news, strict=True
        )
        if entry.class_name == class_name and (old == predicted) != (new == predicted)
    ]
