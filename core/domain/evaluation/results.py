"""The answers of an examination, read one version and one question at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from core.domain.evaluation.metrics import micro_accuracy
from core.domain.evaluation.plan import EvaluationPlan, HoldoutEvaluation
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    RetrievalAnswers,
    RetrievalQuery,
    are_finite,
)
from core.domain.registry.version import Version
from core.domain.values import Digest

Given = Mapping[tuple[Digest, Digest], Answers]  # (version digest, question digest): answers
Counts = list[tuple[int, int]]  # (right, asked) of each class that has an image
LIVE = "live version"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A version that the candidate is compared with, and how far it may fall below."""

    name: str  # "parent", "root", "parent and root", "live version" or "version 3"
    version: Version
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """An examination with its answers. A missing answer is a KeyError."""

    plan: EvaluationPlan
    answers: Given

    def hits(self, version: Version, question: ClassQuery) -> tuple[bool, ...]:
        """Image by image, whether a version was right."""
        given = self.answers[version.digest, question.digest]
        if not isinstance(given, ClassAnswers):
            raise TypeError(type(given))
        return given.hits(question)

    def ranks(self, version: Version, question: RetrievalQuery) -> RetrievalAnswers:
        """A version's ranks in both directions."""
        given = self.answers[version.digest, question.digest]
        if not isinstance(given, RetrievalAnswers):
            raise TypeError(type(given))
        return given

    def counts(self, version: Version, question: ClassQuery) -> Counts:
        """(right, asked) of each class that has an image, by name."""
        found: dict[str, list[bool]] = {}
        hits = self.hits(version, question)
        for entry, hit in zip(question.entries, hits, strict=True):
            found.setdefault(entry.class_name, []).append(hit)
        return [(sum(found[name]), len(found[name])) for name in sorted(found)]

    def accuracy(self, version: Version, question: ClassQuery) -> float:
        """The share of right answers."""
        return micro_accuracy(self.counts(version, question))

    @property
    def roles(self) -> tuple[tuple[str, Version], ...]:
        """Who stands in every table of versions."""
        exam = self.plan
        roles = ("candidate", exam.candidate), ("parent", exam.parent), ("root", exam.root)
        return roles if exam.live is None else (*roles, ("live", exam.live))

    @cached_property
    def suite_baselines(self) -> tuple[Baseline, ...]:
        """Parent, root, and the live version if it would be replaced.

        Where parent and root are one version, it is one baseline with the lesser tolerance. The
        live version is what users have now, so it is held to the parent's.
        """
        exam, policy = self.plan, self.plan.policy
        parent, root = policy.parent_tolerance, policy.root_tolerance
        if exam.parent.digest == exam.root.digest:
            both = min(parent, root)
            found = [Baseline(name="parent and root", version=exam.parent, tolerance=both)]
        else:
            found = [
                Baseline(name="parent", version=exam.parent, tolerance=parent),
                Baseline(name="root", version=exam.root, tolerance=root),
            ]
        if exam.live is not None:
            found.append(Baseline(name=LIVE, version=exam.live, tolerance=parent))
        return tuple(found)

    @property
    def gain_baseline(self) -> Baseline:
        """The parent, on the update's own holdout; less than the wanted gain is a failure."""
        wanted = self.plan.policy.wanted_gain
        return Baseline(name="parent", version=self.plan.parent, tolerance=-wanted)

    @property
    def kept(self) -> tuple[tuple[HoldoutEvaluation, Baseline], ...]:
        """The holdouts of the line's earlier updates, each with the version that learned it."""
        return tuple(
            (
                holdout,
                Baseline(
                    name=f"version {holdout.learner.number}",
                    version=holdout.learner,
                    tolerance=self.plan.policy.holdout_tolerance,
                ),
            )
            for holdout in self.plan.earlier
        )

    @property
    def replaced(self) -> tuple[tuple[HoldoutEvaluation, Baseline], ...]:
        """The holdouts of what only the live version has learned, with the live version."""
        exam = self.plan
        if exam.live is None:
            return ()
        live = Baseline(name=LIVE, version=exam.live, tolerance=exam.policy.holdout_tolerance)
        return tuple((holdout, live) for holdout in exam.live_holdouts)

    def not_finite(self, version: Version) -> int:
        """How many of its questions a version answered with scores that are no numbers."""
        return sum(
            not are_finite(self.answers[version.digest, question.digest], question)
            for asked, questions in self.plan.questions
            if asked.digest == version.digest
            for question in questions
        )
