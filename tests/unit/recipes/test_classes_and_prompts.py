"""Templates of prompts, and the names of classes that compete."""

import pytest

from core.errors import PromptInvalid, TooFewClasses
from core.evaluation.answers import ClassAnswers
from core.evaluation.queries import ClassQuery
from core.recipes.fields import DEFAULT_PROMPT, LabelSpace, Method, PromptTemplate
from core.recipes.rules import Recipe, competing_classes, distinct, require_learnable
from tests.support.evaluation.evaluations import entries


@pytest.mark.parametrize(
    "template", ["", "a photo", "{name} and {name}", "a\n{name}", "x" * 195 + "{name}", "x" * 300]
)
def test_a_template_without_one_slot_or_too_long_is_refused_and_shown_cut(template: str) -> None:
    with pytest.raises(PromptInvalid) as refusal:
        PromptTemplate(template)
    assert refusal.value.message == (
        "A prompt template must have at most 200 printable characters and '{name}' exactly once."
    )
    assert refusal.value.facts == {"template": template[:220]}


@pytest.mark.parametrize("template", ["{name}", "x" * 194 + "{name}"])
def test_shortest_and_longest_templates_are_taken(template: str) -> None:
    assert PromptTemplate(template).fill_all(["Cat", "DOG"]) == (
        template.replace("{name}", "cat"),
        template.replace("{name}", "dog"),
    )


def test_either_spelling_of_a_class_is_right() -> None:
    question = ClassQuery(
        entries=entries("x", [("Cat",), ("cat",), ("dog",)]),
        classes=("Cat", "cat", "dog"),
        prompt=DEFAULT_PROMPT,
    )
    assert ClassAnswers(predicted=(0, 0, 0)).hits(question) == (True, True, False)
    assert ClassAnswers(predicted=(1, 1, 2)).hits(question) == (True, True, True)


def test_first_spelling_stays() -> None:
    assert distinct(["Cat", "dog", "cat", "DOG"]) == ("Cat", "dog")


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
        (LabelSpace.SESSION, "name at least two classes, or use label space 'seen' or 'open'"),
        (
            LabelSpace.SEEN,
            "name at least two classes. With label space 'open' and a zero-shot suite, one can be "
            "taught, but only a person can promote the version: one class alone shows no gain",
        ),
        (LabelSpace.OPEN, "name at least two classes, or add a zero-shot suite to the model"),
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
        f"{advice}."
    )
    assert (refusal.value.pointer, refusal.value.facts) == ("/recipe/label_space", {})


def test_two_columns_are_enough_wherever_the_second_comes_from() -> None:
    require_learnable(Recipe(), ("cat", "dog"), (), ())
    require_learnable(Recipe(label_space=LabelSpace.SEEN), ("cat",), ("owl",), ())
    require_learnable(Recipe(label_space=LabelSpace.OPEN), ("cat",), (), ("elk",))
    with pytest.raises(TooFewClasses):
        require_learnable(Recipe(label_space=LabelSpace.SEEN), ("cat",), (), ("elk",))
