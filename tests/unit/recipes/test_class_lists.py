"""Classes that compete in the cross entropy, and the fewest that an update takes."""

import pytest

from core.errors import TooFewClasses
from core.recipes.fields import LabelSpace, Method, PromptTemplate
from core.recipes.rules import Recipe, competing_classes, distinct, require_learnable


@pytest.mark.parametrize(
    ("label_space", "method", "names"),
    [
        (LabelSpace.SESSION, Method.VRLWF, ("cat", "dog")),
        (LabelSpace.SEEN, Method.VRLWF, ("cat", "dog", "owl")),
        (LabelSpace.OPEN, Method.VRLWF, ("cat", "dog", "owl", "elk")),
        (None, Method.FT, ("cat", "dog")),
        (None, Method.REPLAY, ("cat", "dog", "owl")),
        (LabelSpace.OPEN, Method.REPLAY, ("cat", "dog", "owl", "elk")),
    ],
)
def test_label_space_decides_which_classes_compete(
    label_space: LabelSpace | None, method: Method, names: tuple[str, ...]
) -> None:
    chosen = {"label_space": label_space} if label_space else {}
    recipe = Recipe(method=method, **chosen)
    assert competing_classes(recipe, ("cat", "dog"), ("owl", "Cat"), ("elk", "OWL")) == names


def test_names_with_one_prompt_are_one_and_names_with_two_are_two() -> None:
    template = PromptTemplate("a {name}")
    assert template.fill("Straße") == "a straße"
    assert distinct(["Straße", "STRASSE", "straße", "strasse"]) == ("Straße", "STRASSE")


@pytest.mark.parametrize(
    ("label_space", "advice"),
    [
        (LabelSpace.SESSION, "use label space 'seen' or 'open'"),
        (LabelSpace.SEEN, "use label space 'open'"),
        (LabelSpace.OPEN, "add a zero-shot suite to the model"),
    ],
)
def test_update_with_a_single_column_is_refused_with_what_would_widen_the_label_space(
    label_space: LabelSpace, advice: str
) -> None:
    with pytest.raises(TooFewClasses) as refusal:
        require_learnable(
            Recipe(method=Method.VRLWF, label_space=label_space), ("Cat", "cat"), (), ()
        )
    assert refusal.value.message == (
        f"In the label space '{label_space}' the only class is Cat, so the loss would be zero: "
        f"name at least two classes, or {advice}."
    )
    assert (refusal.value.pointer, refusal.value.facts) == ("/recipe/label_space", {})


def test_two_columns_are_enough_wherever_the_second_comes_from() -> None:
    require_learnable(Recipe(), ("cat", "dog"), (), ())
    require_learnable(Recipe(label_space=LabelSpace.SEEN), ("cat",), ("owl",), ())
    require_learnable(Recipe(label_space=LabelSpace.OPEN), ("cat",), (), ("elk",))
    with pytest.raises(TooFewClasses):
        require_learnable(Recipe(label_space=LabelSpace.SEEN), ("cat",), (), ("elk",))
