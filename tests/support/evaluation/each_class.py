"""Versions that know some classes of a query and not others."""

from collections.abc import Collection, Mapping, Sequence

import pytest

from core.evaluation.queries import Answers, ClassAnswers, ClassQuery, EvalQuery
from core.jobs.rules import Monitor
from core.registry.versions import Model
from core.values import Digest
from tests.support.scene import Scene, answered

SURE, UNSURE = 0.9, 0.6  # probabilities of right and of wrong answers


def knowing_each(
    scene: Scene,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    known: Mapping[int, Sequence[str]],
) -> None:
    """Let versions be right about the images of these classes; others get the next class."""

    def answer(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        (number,) = [v.number for v in scene.versions(model) if v.digest == version]
        return [answer_knowing(question, known[number]) for question in questions]

    monkeypatch.setattr(scene.script, "answer", answer)


def answer_knowing(question: EvalQuery, known: Collection[str]) -> Answers:
    """Right answers about some classes, wrong ones about the others."""
    right, wrong = (answered(question, known=tenths) for tenths in (10, 0))
    if not isinstance(question, ClassQuery):
        return right
    columns = zip(question.entries, right.predicted, wrong.predicted, strict=True)
    return ClassAnswers(
        predicted=tuple(yes if entry.class_name in known else no for entry, yes, no in columns),
        probabilities=tuple(SURE if e.class_name in known else UNSURE for e in question.entries),
    )
