"""Class names that differ in case alone have one prompt, so they are one class."""

from core.evaluation.queries import ClassAnswers, ClassQuery
from core.recipes.fields import DEFAULT_PROMPT
from core.recipes.rules import distinct
from tests.support.evaluation.evaluations import entries


def test_either_spelling_of_a_class_is_right() -> None:
    question = ClassQuery(
        entries=entries("x", [("Cat",), ("cat",), ("dog",)]),
        classes=("Cat", "cat", "dog"),
        prompt=DEFAULT_PROMPT,
    )
    assert ClassAnswers(predicted=(0, 0, 0)).hits(question) == (True, True, False)
    assert ClassAnswers(predicted=(1, 1, 2)).hits(question) == (True, True, True)


def test_spelling_of_the_list_counts_for_images_that_spell_otherwise() -> None:
    question = ClassQuery(
        entries=entries("x", [("cat",)]), classes=("Cat", "dog"), prompt=DEFAULT_PROMPT
    )
    assert ClassAnswers(predicted=(0,)).hits(question) == (True,)


def test_first_spelling_stays() -> None:
    assert distinct(["Cat", "dog", "cat", "DOG"]) == ("Cat", "dog")
