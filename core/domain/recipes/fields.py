"""The JSON of a recipe's fields."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from core.domain.recipes.bounds import MOST_EXEMPLARS
from core.domain.recipes.choices import (
    Averaging,
    ExemplarChoice,
    LabelSpace,
    LossTerm,
    Method,
    MixingChoice,
    ModelPart,
    Optimiser,
    Precision,
    Schedule,
    TeacherPolicy,
    Vocabulary,
)
from core.errors import RecipeInvalid

CHOICES: Mapping[str, Mapping[str, StrEnum]] = {  # by field and by value
    name: {choice.value: choice for choice in choices}
    for name, choices in {
        "method": Method,
        "part": ModelPart,
        "label_space": LabelSpace,
        "teacher": TeacherPolicy,
        "mixing_choice": MixingChoice,
        "exemplar_choice": ExemplarChoice,
        "averaging": Averaging,
        "optimiser": Optimiser,
        "schedule": Schedule,
        "vocabulary": Vocabulary,
        "precision": Precision,
    }.items()
}

SWITCHES = ("augment", "unit_gradient", "gradient_checkpointing")
PARSED = (*CHOICES, *SWITCHES, "terms", "exemplars", "vocabulary_texts")


def parse_field(name: str, value: object) -> Any:
    """Return a field's value from its JSON. Raises RecipeInvalid."""
    pointer = f"/recipe/{name}"
    if name in CHOICES:
        choice = CHOICES[name].get(str(value))
        if choice is None:
            words = ", ".join(CHOICES[name])
            raise RecipeInvalid(f"{name} must be one of: {words}.", pointer=pointer)
        return choice
    if name in SWITCHES:
        if not isinstance(value, bool):
            raise RecipeInvalid(f"{name} must be true or false.", pointer=pointer)
        return value
    if name == "exemplars":
        return {"none": 0, "all": MOST_EXEMPLARS}.get(str(value), value)
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise RecipeInvalid(f"{name} must be a list of texts.", pointer=pointer)
    return _terms(value) if name == "terms" else tuple(value)


def _terms(value: Collection[str]) -> tuple[LossTerm, ...]:
    """Return the terms in the order of `LossTerm`. Raises RecipeInvalid."""
    if unknown := set(value) - set(LossTerm):
        raise RecipeInvalid(
            f"terms has no {min(unknown)!r}; it may hold: {', '.join(LossTerm)}.",
            pointer="/recipe/terms",
        )
    if len(set(value)) < len(value):
        raise RecipeInvalid("terms may name a term only once.", pointer="/recipe/terms")
    return tuple(term for term in LossTerm if term in value)
