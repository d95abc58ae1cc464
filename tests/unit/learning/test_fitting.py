"""An update that is shrunk until it fits its policy, by validation images alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import pytest
import torch

from core.clip.model import ClipModel
from core.datasets.manifests import ManifestEntry, Part
from core.datasets.rules import SuiteKind
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.fitting import asked_beside
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.plan import EvaluationPlan, plan_queries
from core.evaluation.queries import ClassQuery, EvalQuery
from core.jobs.rules import Monitor
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Method, MixingChoice
from core.scoring.evaluator import VersionEvaluator
from core.training.trainer import Trained, TrainingSpec
from core.values import Digest
from tests.support.evaluation.evaluations import MODEL, ROOT, policy, suite, taught
from tests.support.learning.lessons import Watching, square, stopped, tensors, with_recipe
from tests.support.memory_artifacts import MemoryArtifacts

CPU = torch.device("cpu")


def shown(artifacts: MemoryArtifacts, text: str, part: Part, images: int) -> list[ManifestEntry]:
    """Squares of one part."""
    made = (square(artifacts, text, (9, 250 - n // 200, n % 200)) for n in count())
    return [*islice((one for one in made if one.part is part), images)]


def plan_of(artifacts: MemoryArtifacts, spec: TrainingSpec, **limits: float) -> EvaluationPlan:
    """A suite of ten validation images, and as many test images."""
    parts = [one for part in Part for one in shown(artifacts, "green", part, 10)]
    parent = replace(ROOT, digest=spec.parent)
    candidate = replace(taught(parent, 2, spec.classes), digest=Digest(""))
    return plan_queries(
        model=MODEL,
        policy=policy(minimum_count=500, **limits),
        candidate=HeldOutUpdate(version=candidate, holdout=()),
        parent=parent,
        root=parent,
        earlier=(),
        suites=[suite("greens", parts, SuiteKind.ZERO_SHOT)],
        part=Part.VALIDATION,
    )


class Asked:
    """Answers as told; it refuses test images, and remembers who was asked at which share."""

    def __init__(self, right: Sequence[float]) -> None:
        self.times = 0
        self._right = right

    def __call__(
        self, model: ClipModel, questions: Sequence[EvalQuery], monitor: Monitor, **_: Any
    ) -> Sequence[Answers]:
        assert all(one.part is Part.VALIDATION for asked in questions for one in asked.entries)
        right = self._right[min(self.times, len(self._right) - 1)]
        self.times += 1
        monitor.advance("evaluating", 1, 1)
        return [self._answer(one, right) for one in questions]

    @staticmethod
    def _answer(query: EvalQuery, right: float) -> Answers:
        assert isinstance(query, ClassQuery)
        true = query.classes.index("green")
        hits = round(right * len(query.entries))
        wrong = len(query.classes)
        return ClassAnswers(predicted=tuple([true] * hits + [wrong] * (len(query.entries) - hits)))


def fitted(
    artifacts: MemoryArtifacts,
    spec: TrainingSpec,
    ask: Any,
    monitor: Watching | None = None,
    resume: Digest | None = None,
) -> Trained:
    trainer = UpdateTrainer(artifacts, device=CPU, threads=1, ask=ask)
    return trainer.train(spec, resume=resume, monitor=monitor or Watching())


@pytest.fixture
def fit_spec(artifacts: MemoryArtifacts, spec: TrainingSpec) -> TrainingSpec:
    fit = plan_of(artifacts, spec)
    return replace(with_recipe(spec, method=Method.FT, mixing_choice=MixingChoice.FIT), fit=fit)


def test_the_share_is_the_largest_that_fits_and_test_images_are_never_asked(
    artifacts: MemoryArtifacts, fit_spec: TrainingSpec
) -> None:
    monitor = Watching()
    ask = Asked([1.0, 0.0, 0.5, 1.0])  # the parent; shares 1, 0.9 and 0.8
    trained = fitted(artifacts, fit_spec, ask, monitor)
    assert ask.times == 4
    assert [(row["mixing"], bool(row["exceeded"])) for row in trained.notes["tried"]] == [
        (1.0, True),
        (0.9, True),
        (0.8, False),
    ]
    assert trained.notes["mixing"] == 0.8
    assert "top-1 on greens against the parent and root" in trained.notes["shrunk"]
    whole = fitted(artifacts, replace(fit_spec, share=1.0), ask)
    new, old, mixed = (
        tensors(artifacts, one)
        for one in (whole.weights.digest, fit_spec.parent, trained.weights.digest)
    )
    assert all(torch.equal(value, old[name].lerp(new[name], 0.8)) for name, value in mixed.items())
    assert ("fitting", 1, 1) in monitor.steps


def test_what_the_parent_itself_exceeds_shrinks_nothing(
    artifacts: MemoryArtifacts, fit_spec: TrainingSpec
) -> None:
    """Less of a step does not help where unchanged answers would not hold either."""
    assert fit_spec.fit is not None
    strict = replace(fit_spec.fit, policy=policy(minimum_count=10, parent_tolerance=0.0001))
    trained = fitted(artifacts, replace(fit_spec, fit=strict), Asked([1.0, 0.9]))
    assert trained.notes["mixing"] == 1.0


def test_without_validation_images_the_whole_step_is_kept(
    artifacts: MemoryArtifacts, fit_spec: TrainingSpec
) -> None:
    assert fit_spec.fit is not None
    for fit in (None, replace(fit_spec.fit, zero_shot=())):
        ask = Asked([])
        trained = fitted(artifacts, replace(fit_spec, fit=fit), ask)
        assert (trained.notes["mixing"], ask.times) == (1.0, 0)
        assert "no validation image" in trained.notes["shrunk"]


def test_a_resumed_update_takes_the_same_share_and_has_the_same_weights(
    artifacts: MemoryArtifacts, fit_spec: TrainingSpec
) -> None:
    ask = VersionEvaluator(artifacts, device=CPU, threads=1).ask
    whole = fitted(artifacts, fit_spec, ask)
    again = fitted(artifacts, fit_spec, ask, resume=stopped(artifacts, fit_spec))
    assert (again.weights.digest, again.notes) == (whole.weights.digest, whole.notes)


def test_settled_and_root_are_asked_only_where_they_are_a_baseline(
    artifacts: MemoryArtifacts, fit_spec: TrainingSpec
) -> None:
    plan = fit_spec.fit
    assert plan is not None
    first = taught(plan.root, 2, ("cat",))
    second = taught(first, 3, ("dog",))
    settled = taught(first, 9, ())
    grown = plan_queries(
        model=plan.model,
        policy=plan.policy,
        candidate=HeldOutUpdate(version=replace(plan.candidate, classes=("cat", "x")), holdout=()),
        parent=second,
        root=plan.root,
        earlier=[
            HeldOutUpdate(version=first, holdout=tuple(shown(artifacts, "cat", Part.VALIDATION, 4)))
        ],
        suites=[],
        part=Part.VALIDATION,
    )
    (holdout,) = grown.holdouts
    asked = asked_beside(replace(grown, holdouts=(replace(holdout, settled=settled),)))
    own, union = holdout.exam.own.digest, holdout.exam.union.digest
    by_default = holdout.exam.by_default(second).digest
    found = {who: {query.digest for query in queries} for who, queries in asked.items()}
    assert found[second.digest] == {own, union, by_default}
    assert found[plan.candidate.digest] == {own, union}
    assert found[settled.digest] == {own}
    assert plan.root.digest not in found
