"""Lists of class names: without duplicates, and those that compete in an update."""

from collections.abc import Iterable, Sequence

from core.domain.recipes.choices import LabelSpace
from core.domain.recipes.recipe import Recipe
from core.errors import TooFewClasses

_ADVICE = {
    LabelSpace.SESSION: "name at least two classes, or use label space 'seen' or 'open'",
    LabelSpace.SEEN: "name at least two classes, or use label space 'open'",
    LabelSpace.OPEN: "name at least two classes, or add a zero-shot suite to the model",
}


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without case-insensitive duplicates, in order of first appearance."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name.lower(), name)
    return tuple(found.values())


def competing_classes(
    recipe: Recipe, classes: Sequence[str], learned: Sequence[str], open_classes: Sequence[str]
) -> tuple[str, ...]:
    """Return the columns of the cross entropy: the update's own classes first, then the others.

    Names that differ only in case have the same prompt, so they are one column.
    """
    before = learned if recipe.label_space is not LabelSpace.SESSION else ()
    negatives = open_classes if recipe.label_space is LabelSpace.OPEN else ()
    return distinct((*classes, *before, *negatives))


def require_learnable(
    recipe: Recipe, classes: Sequence[str], learned: Sequence[str], open_classes: Sequence[str]
) -> None:
    """Raise TooFewClasses if the cross entropy has fewer than two columns: its gradient is 0."""
    names = competing_classes(recipe, classes, learned, open_classes)
    if len(names) < 2:
        raise TooFewClasses(
            f"In the label space '{recipe.label_space}' the only class is {', '.join(names)}, so "
            f"the loss would be zero: {_ADVICE[recipe.label_space]}.",
            pointer="/recipe/label_space",
        )
