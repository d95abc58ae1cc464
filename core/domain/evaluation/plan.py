"""The evaluation plan of a candidate: which version must answer which query."""

from collections.abc import Iterable
from dataclasses import dataclass

from core.domain.datasets.suite import Suite
from core.domain.evaluation.query import ClassQuery, EvalQuery, RetrievalQuery
from core.domain.gate.policy import GatePolicy
from core.domain.registry.version import Model, Version
from core.domain.rejection.query import CalibrationQuery


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation:
    """Two queries on the same images: with their own class list, and with the union.

    Forgetting is judged on `own`. In `union`, all classes that the candidate has learned compete
    too; its accuracy is reported separately. If that adds no class, the two queries are equal.
    """

    name: str
    own: ClassQuery
    union: ClassQuery


@dataclass(frozen=True, kw_only=True)
class RetrievalEvaluation:
    """The query of a captioned suite."""

    name: str
    own: RetrievalQuery


@dataclass(frozen=True, kw_only=True)
class HoldoutEvaluation:
    """An update's holdout, with the version that learned it."""

    learner: Version
    exam: ClassEvaluation


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """All queries for a candidate; holdouts are in the order of the updates, its own last."""

    model: Model
    policy: GatePolicy
    candidate: Version
    parent: Version
    root: Version
    live: Version | None  # what a promotion would replace, unless an ancestor of the candidate
    suites: tuple[Suite, ...]  # including those without a test image, which have no query
    zero_shot: tuple[ClassEvaluation, ...]
    retrieval: tuple[RetrievalEvaluation, ...]
    holdouts: tuple[HoldoutEvaluation, ...]  # those with a test image
    live_holdouts: tuple[HoldoutEvaluation, ...]  # of the updates that only the live version has
    calibration: CalibrationQuery | None = None  # of the candidate, if it has images enough
    root_calibration: CalibrationQuery | None = None  # likewise, on the suites alone

    @property
    def own(self) -> HoldoutEvaluation | None:
        """The candidate's own holdout, if it has a test image."""
        return next((h for h in self.holdouts if h.learner == self.candidate), None)

    @property
    def earlier(self) -> tuple[HoldoutEvaluation, ...]:
        """The holdouts of the updates before the candidate's."""
        return tuple(h for h in self.holdouts if h.learner != self.candidate)

    @property
    def questions(self) -> tuple[tuple[Version, tuple[EvalQuery, ...]], ...]:
        """The queries that each version must answer, without duplicate versions or queries.

        Candidate, parent, root and live version answer the queries on suites and on the lineage's
        holdouts; candidate and live version also answer those on `live_holdouts`. The version that
        learned an earlier holdout answers that holdout's own query: it did so as a candidate and
        the answers are stored, so its weights may have been collected. Candidate and root are
        calibrated; the others were when they were candidates. Equal plans have the same order.
        """
        shared: list[EvalQuery] = [evaluation.own for evaluation in self.retrieval]
        for evaluation in (*self.zero_shot, *(holdout.exam for holdout in self.holdouts)):
            shared += [evaluation.own, evaluation.union]
        whole = list(shared)
        for holdout in self.live_holdouts:
            whole += [holdout.exam.own, holdout.exam.union]
        asked = [
            (self.candidate, whole + _asked(self.calibration)),
            (self.parent, shared),
            (self.root, shared + _asked(self.root_calibration)),
        ]
        if self.live is not None:
            asked.append((self.live, whole))
        asked += [(h.learner, [h.exam.own]) for h in self.earlier]
        versions = {version.digest: version for version, _ in asked}
        return tuple(
            (version, _distinct(q for asks, qs in asked if asks.digest == digest for q in qs))
            for digest, version in versions.items()
        )


def _asked(query: EvalQuery | None) -> list[EvalQuery]:
    return [] if query is None else [query]


def _distinct(queries: Iterable[EvalQuery]) -> tuple[EvalQuery, ...]:
    return tuple({query.digest: query for query in queries}.values())
