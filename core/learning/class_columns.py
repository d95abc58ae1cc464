"""The columns of the class logits: which class prompts an update encodes, and for which loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from core.domain.recipes.choices import LossTerm
from core.domain.recipes.class_lists import competing_classes, distinct
from core.domain.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Class names in column order, those that compete in the cross entropy first."""

    names: tuple[str, ...]
    competing: int
    seen: tuple[int, ...]  # columns of the classes learned before and the current ones
    distils: bool  # whether the loss has the class distillation term

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        classes: Sequence[str],
        learned: Sequence[str],
        open_classes: Sequence[str],
    ) -> Self:
        """Return the columns that an update needs; names that differ only in case share one."""
        competing = competing_classes(recipe, classes, learned, open_classes)
        seen = distinct((*learned, *classes))
        # Added to the sentence term, it starts with the second update, as in VR-LwF's paper; alone
        # it starts with the first.
        distils = LossTerm.LWF in recipe.terms and (
            bool(learned) or LossTerm.VR not in recipe.terms
        )
        names = distinct((*competing, *seen)) if distils else competing
        position = {name.lower(): column for column, name in enumerate(names)}
        return cls(
            names=names,
            competing=len(competing),
            seen=tuple(position[name.lower()] for name in seen if name.lower() in position),
            distils=distils,
        )

    def of_class(self, name: str) -> int:
        """Return the column of one of the update's classes."""
        return [known.lower() for known in self.names].index(name.lower())
