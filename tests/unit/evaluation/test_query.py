"""Answers of versions, and their stored form."""

import pytest

from core.evaluation.answers import (
    Answers,
    ClassAnswers,
    RetrievalAnswers,
    answers_from_json,
    answers_to_json,
    are_finite,
)
from core.evaluation.queries import ClassQuery, RetrievalQuery
from core.evaluation.results import EvaluationResults
from core.recipes.fields import DEFAULT_PROMPT
from core.values import Json
from tests.support.evaluation.evaluations import SECOND, answered, entries, second_update

PETS = ClassQuery(
    entries=entries("pets", [("cat",), ("dog",), ("Cat",)]),
    classes=("CAT", "dog"),
    prompt=DEFAULT_PROMPT,
)

CAPTIONED = RetrievalQuery(entries=entries("shapes", [("a ring", "a circle"), ("a dot",)]))


@pytest.mark.parametrize(
    ("answers", "stored"),
    [
        (ClassAnswers(predicted=(1, 0, 2)), {"predicted": [1, 0, 2]}),
        (
            RetrievalAnswers(image_ranks=(0, 2), caption_ranks=(1, 0, 1)),
            {"image_ranks": [0, 2], "caption_ranks": [1, 0, 1]},
        ),
    ],
)
def test_answers_are_kept_under_names_that_later_releases_read(
    answers: Answers, stored: Json
) -> None:
    assert answers_to_json(answers) == stored
    assert answers_from_json(stored) == answers


def test_answer_is_right_whatever_the_case_of_its_class_and_wrong_without_a_best_one() -> None:
    assert ClassAnswers(predicted=(0, 0, 0)).hits(PETS) == (True, False, True)
    assert ClassAnswers(predicted=(2, 1, 2)).hits(PETS) == (False, True, False)


@pytest.mark.parametrize("predicted", [(0, 1), (0, 1, 0, 1)])
def test_as_many_answers_as_images_are_needed(predicted: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="argument 2 is"):
        ClassAnswers(predicted=predicted).hits(PETS)


@pytest.mark.parametrize(
    ("answers", "finite"),
    [
        (ClassAnswers(predicted=(0, 1, 1)), True),
        (ClassAnswers(predicted=(0, 2, 1)), False),
        # two images with three captions: the last ranks are 2 among captions, 1 among images
        (RetrievalAnswers(image_ranks=(0, 2), caption_ranks=(1, 0, 1)), True),
        (RetrievalAnswers(image_ranks=(0, 3), caption_ranks=(1, 0, 1)), False),
        (RetrievalAnswers(image_ranks=(0, 2), caption_ranks=(1, 2, 1)), False),
    ],
)
def test_index_one_past_the_last_is_no_number(answers: Answers, finite: bool) -> None:
    question = PETS if isinstance(answers, ClassAnswers) else CAPTIONED
    assert are_finite(answers, question) is finite


def test_answers_of_the_other_kind_are_refused_by_their_type() -> None:
    plan = second_update()
    answers = answered(plan, lambda *_: True)
    suite, captioned = plan.zero_shot[0].own, plan.retrieval[0].own
    classes, ranks = (SECOND.digest, suite.digest), (SECOND.digest, captioned.digest)
    exchanged = answers | {classes: answers[ranks], ranks: answers[classes]}
    sheet = EvaluationResults(plan=plan, answers=exchanged)
    with pytest.raises(TypeError, match="RetrievalAnswers"):
        sheet.hits(SECOND, suite)
    with pytest.raises(TypeError, match="ClassAnswers"):
        sheet.ranks(SECOND, plan.retrieval[0])
