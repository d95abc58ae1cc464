"""Versions that know some classes of a query and not others."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.queries import EvalQuery
from core.jobs.rules import Monitor
from core.registry.versions import Model
from core.values import Digest
from tests.support.scene import Scene, answered_where

SURE, UNSURE = 0.9, 0.6  # probabilities of right and of wrong answers


def knowing_each(
    scene: Scene,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
    known: Mapping[int, Sequence[str]],
) -> None:
    """Let versions be right about the images of these classes; others get the next class.

    Of captioned images they are right about those with such a caption.
    """

    def answer(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        number = min(v.number for v in scene.versions(model) if v.digest == version)
        return [answer_knowing(question, known[number]) for question in questions]

    monkeypatch.setattr(scene.script, "answer", answer)


def answer_knowing(question: EvalQuery, known: Collection[str]) -> Answers:
    """Right answers about some classes or captions, wrong ones about the others."""
    right = [any(text in known for text in entry.texts) for entry in question.entries]
    found = answered_where(right.__getitem__, question)
    if not isinstance(found, ClassAnswers):
        return found
    return replace(found, probabilities=tuple(SURE if one else UNSURE for one in right))
