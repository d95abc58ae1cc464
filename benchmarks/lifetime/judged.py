"""The gate's own test of every promoted version, on images that no verdict saw."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.lifetime.material import Labelled, Material
from core.artifacts.store import Artifacts
from core.datasets.manifests import Manifest, ManifestEntry, Part
from core.datasets.rules import DatasetKind, Suite, SuiteKind
from core.evaluation.answers import Answers, ClassAnswers
from core.evaluation.comparisons import comparisons
from core.evaluation.exams import RetrievalExam, ScoredSuite
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.measures import measures
from core.evaluation.plan import EvaluationPlan, plan_queries
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.results import EvaluationResults
from core.gate.judge import judge
from core.gate.kinds import Outcome
from core.gate.measures import Ruling
from core.gate.phrases import points, subject
from core.gate.rules import GatePolicy
from core.images.decoder import Decoder
from core.recipes.rules import distinct
from core.registry.versions import Model, Version
from core.values import Digest

Ask = Callable[[Digest, Sequence[EvalQuery]], Sequence[Answers]]


@dataclass(frozen=True, kw_only=True)
class Court:
    """Kept images, and versions that answer queries about them."""

    model: Model
    policy: GatePolicy
    suites: Sequence[ScoredSuite]
    images: Sequence[ManifestEntry]  # of the classes that are taught
    ask: Ask  # the version of a digest

    def rows(self, line: Sequence[Version], others: Sequence[Version]) -> Iterator[dict[str, Any]]:
        """Yield a row for each version: the line's from its root on, then those of joint training.

        A version of the line is compared with its parent, the root and settled versions. None
        counts as live, so that what the line has lost before is its loss, too. Versions of joint
        training are scored alone: over all classes, and over those that the line has learned.
        """
        plans = [self._plan(line[: end + 1]) for end in range(1, len(line))]
        asked: dict[Digest, dict[Digest, EvalQuery]] = defaultdict(dict)
        for plan in plans:
            for version, query in _compared(plan):
                asked[version.digest][query.digest] = query
        answers: dict[tuple[Digest, Digest], Answers] = {}
        for version in (*line, *others):
            scored = self._scored(version, line[-1])
            queries = asked[version.digest] | {one.digest: one for one in scored.values()}
            given = self.ask(version.digest, tuple(queries.values()))
            answers |= {
                (version.digest, query): one for query, one in zip(queries, given, strict=True)
            }
            row: dict[str, Any] = {"version": version.number}
            for name, query in scored.items():
                answer = answers[version.digest, query.digest]
                assert isinstance(answer, ClassAnswers)  # what such a query is answered with
                hits = answer.hits(query)
                row |= {name: sum(hits) / len(hits), f"{name} images": len(hits)}
            if version in line[1:]:
                row |= _judged(plans[line.index(version) - 1], answers)
            yield row

    def _plan(self, line: Sequence[Version]) -> EvaluationPlan:
        updates = [
            HeldOutUpdate(version=one, holdout=self._of(one), passed=True) for one in line[1:]
        ]
        return plan_queries(
            model=self.model,
            policy=self.policy,
            candidate=updates[-1],
            parent=line[-2],
            root=line[0],
            earlier=updates[:-1],
            suites=self.suites,
        )

    def _scored(self, version: Version, last: Version) -> dict[str, ClassQuery]:
        """Return what a version is scored on: its classes, those of the line's end, and a suite."""
        (retained,) = (one for one in self.suites if one.suite.kind is SuiteKind.ZERO_SHOT)
        found = {
            "ZS-Acc": ClassQuery(
                entries=retained.manifest.entries,
                classes=retained.suite.classes,
                prompt=retained.suite.prompt,
            )
        }
        if version.classes:
            found["UT-Acc"] = self._learned(version)
        if version.number > last.number or version == last:
            found["UT-Acc of the line's classes"] = self._learned(last)
        return found

    def _learned(self, version: Version) -> ClassQuery:
        wanted = set(version.classes)
        return ClassQuery(
            entries=tuple(one for one in self.images if one.class_name in wanted),
            classes=version.classes,
            prompt=version.prompt,
        )

    def _of(self, version: Version) -> tuple[ManifestEntry, ...]:
        taught = set(version.update_classes)
        return tuple(one for one in self.images if one.class_name in taught)


def _compared(plan: EvaluationPlan) -> Iterator[tuple[Version, EvalQuery]]:
    """Yield the versions and queries that a plan compares: fewer than a report shows."""
    for comparison in comparisons(plan):
        for exam, before in comparison.pairs:
            for version in (plan.candidate, before):
                if isinstance(exam, RetrievalExam):
                    yield version, exam.over(comparison.asked)
                else:
                    yield version, comparison.query(exam, version)
    for holdout in plan.holdouts:  # which show what updates have improved since a version
        for version in (plan.candidate, plan.parent, plan.root):
            yield version, holdout.exam.own


def _judged(plan: EvaluationPlan, answers: dict[tuple[Digest, Digest], Answers]) -> dict[str, Any]:
    judgement = judge(measures(EvaluationResults(plan=plan, answers=answers)), plan.policy)
    worst = min(judgement.measures, key=lambda one: one.difference + one.tolerance)
    return {
        "judged": judgement.verdict.value,
        "failing": [_told(one) for one in judgement.measures if one.outcome is Outcome.FAILS],
        "measures": len(judgement.measures),
        "beyond": sum(one.difference < -one.tolerance for one in judgement.measures),
        "nearest to its limit": _told(worst),
    }


def _told(measure: Ruling) -> str:
    return (
        f"{subject(measure)}: {points(measure.difference)} points, {points(measure.lower)} to "
        f"{points(measure.upper)}, limit {points(-measure.tolerance)} "
        f"({measure.gained} gained, {measure.lost} lost of {measure.count})"
    )


def stored_suites(
    suites: Sequence[Suite], material: Material, decoder: Decoder, artifacts: Artifacts
) -> tuple[ScoredSuite, ...]:
    """Return suites of the kept images, which compete with all classes of the uploaded ones."""
    found = []
    for suite in suites:
        captioned = suite.kind is SuiteKind.RETRIEVAL
        kept = material.kept_captioned if captioned else material.kept_named
        entries = stored(kept, decoder, artifacts)
        more = () if captioned else (one.class_name for one in entries)
        found.append(
            ScoredSuite(
                suite=replace(suite, classes=distinct((*suite.classes, *more))),
                manifest=Manifest(
                    kind=DatasetKind.CAPTIONED if captioned else DatasetKind.LABELLED,
                    entries=entries,
                ),
            )
        )
    return tuple(found)


def stored(
    images: Sequence[Labelled], decoder: Decoder, artifacts: Artifacts
) -> tuple[ManifestEntry, ...]:
    """Store images as the service does; equal pixels are one image."""
    found: dict[Digest, ManifestEntry] = {}
    for text, data in images:
        decoded = decoder.decode(data)
        artifact = artifacts.put(decoded.data)
        found[decoded.pixels] = ManifestEntry(  # all of them judge, none is for choosing
            pixels=decoded.pixels, artifact=artifact, texts=(text,), part=Part.TEST
        )
    return tuple(found.values())
