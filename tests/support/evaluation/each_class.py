"""Versions that know some classes of a query and not others."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from core.evaluation.answers import Answers
from core.evaluation.queries import ClassQuery, EvalQuery
from core.jobs.rules import Monitor
from core.registry.versions import Model
from core.values import Digest
from tests.support.scene import Scene, answered, answered_where

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
        number = min(v.number for v in scene.versions(model) if v.digest == version)
        return [answer_knowing(question, known[number]) for question in questions]

    monkeypatch.setattr(scene.script, "answer", answer)


def answer_knowing(question: EvalQuery, known: Collection[str]) -> Answers:
    """Right answers about some classes, wrong ones about the others."""
    if not isinstance(question, ClassQuery):
        return answered(question, known=10)
    right = [entry.class_name in known for entry in question.entries]
    found = answered_where(right.__getitem__, question)
    return replace(found, probabilities=tuple(SURE if one else UNSURE for one in right))
