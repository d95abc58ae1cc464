"""The results of an evaluation: its plan with the answers to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from core.domain.gate.policy import GatePolicy
from core.domain.registry.version import Version
from core.domain.rejection.calibration import Calibration
from core.domain.values import Digest

AnswersByQuery = Mapping[tuple[Digest, Digest], Answers]  # (version digest, query digest): answers
Counts = list[tuple[int, int]]  # (right, asked) of each class that has an image
LIVE, PARENT, ROOT, BOTH = "live version", "parent", "root", "parent and root"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A version that the candidate is compared with, and the tolerated loss against it."""

    name: str  # "parent", "root", "parent and root", "live version" or "version 3"
    version: Version
    tolerance: float


def suite_tolerance(policy: GatePolicy, baseline: str) -> float:
    """Return the loss that a suite may show against the baseline of this name.

    Of a parent that is the root too, the smaller tolerance counts. The live version is what users
    have now, so it has the parent's.
    """
    parent, root = policy.parent_tolerance, policy.root_tolerance
    return {ROOT: root, BOTH: min(parent, root)}.get(baseline, parent)


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """An evaluation plan with its answers. A missing answer is a KeyError.

    `verdicts` is the number of versions of the line that a query has judged, the candidate
    included; a query that is missing judges its first.
    """

    plan: EvaluationPlan
    answers: AnswersByQuery
    verdicts: Mapping[Digest, int] = field(default_factory=dict)  # of the line, by query

    def hits(self, version: Version, query: ClassQuery) -> tuple[bool, ...]:
        """Return, image by image, whether a version was right."""
        answers = self.answers[version.digest, query.digest]
        if not isinstance(answers, ClassAnswers):
            raise TypeError(type(answers))
        return answers.hits(query)

    def ranks(self, version: Version, query: RetrievalQuery) -> RetrievalAnswers:
        """Return a version's ranks in both directions."""
        answers = self.answers[version.digest, query.digest]
        if not isinstance(answers, RetrievalAnswers):
            raise TypeError(type(answers))
        return answers

    def counts(self, version: Version, query: ClassQuery) -> Counts:
        """Return (right, asked) of each class that has an image, sorted by name."""
        found: dict[str, list[bool]] = {}
        hits = self.hits(version, query)
        for entry, hit in zip(query.entries, hits, strict=True):
            found.setdefault(entry.class_name, []).append(hit)
        return [(sum(found[name]), len(found[name])) for name in sorted(found)]

    def accuracy(self, version: Version, query: ClassQuery) -> float:
        """Return the share of right answers."""
        return micro_accuracy(self.counts(version, query))

    @property
    def calibration(self) -> Calibration:
        """The candidate's thresholds for "none of these"; without a source if it has none."""
        query = self.plan.calibration
        found = self.answers[self.plan.candidate.digest, query.digest] if query else Calibration()
        if not isinstance(found, Calibration):
            raise TypeError(type(found))
        return found

    @property
    def roles(self) -> tuple[tuple[str, Version], ...]:
        """The versions in every table, by role."""
        plan = self.plan
        roles = ("candidate", plan.candidate), ("parent", plan.parent), ("root", plan.root)
        return roles if plan.live is None else (*roles, ("live", plan.live))

    @cached_property
    def suite_baselines(self) -> tuple[Baseline, ...]:
        """Parent, root, and the live version if it would be replaced.

        If parent and root are the same version, it is one baseline.
        """
        plan = self.plan
        if plan.parent.digest == plan.root.digest:
            found = {BOTH: plan.parent}
        else:
            found = {PARENT: plan.parent, ROOT: plan.root}
        if plan.live is not None:
            found[LIVE] = plan.live
        return tuple(
            Baseline(name=name, version=version, tolerance=suite_tolerance(plan.policy, name))
            for name, version in found.items()
        )

    @property
    def gain_baseline(self) -> Baseline:
        """The parent, on the update's own holdout; less than the wanted gain fails."""
        wanted = self.plan.policy.wanted_gain
        return Baseline(name=PARENT, version=self.plan.parent, tolerance=-wanted)

    @property
    def kept(self) -> tuple[tuple[HoldoutEvaluation, Baseline], ...]:
        """The holdouts of the lineage's earlier updates, each with the version that learned it."""
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
        """The holdouts of updates that only the live version has, with the live version."""
        plan = self.plan
        if plan.live is None:
            return ()
        live = Baseline(name=LIVE, version=plan.live, tolerance=plan.policy.holdout_tolerance)
        return tuple((holdout, live) for holdout in plan.live_holdouts)

    def not_finite(self, version: Version) -> int:
        """Return how many queries a version answered with scores that are NaN."""
        return sum(
            not are_finite(self.answers[version.digest, query.digest], query)
            for asked, queries in self.plan.questions
            if asked.digest == version.digest
            for query in queries
        )
