"""The share of its step that an update may keep: what validation images say about the policy.

A version *fits* if the gate would probably pass it on test parts that behave like the validation
parts. No test image is asked, so that the verdict stays one by images that have chosen nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from core.artifacts.store import Artifacts
from core.database.work import Work
from core.datasets.manifests import VALIDATION_SHARE, Part
from core.datasets.rules import DatasetRef
from core.evaluation.comparisons import comparisons
from core.evaluation.exams import ClassExam, RetrievalExam
from core.evaluation.holdouts import ClassHoldout, HeldOutUpdate
from core.evaluation.measures import measures
from core.evaluation.plan import EvaluationPlan, LiveLineage, plan_queries
from core.evaluation.queries import EvalQuery
from core.evaluation.read_plan import held_out_updates
from core.evaluation.results import AnswersByQuery, EvaluationResults
from core.evaluation.stored_answers import read_suite
from core.gate.measures import Measure
from core.gate.rows import Policies
from core.gate.sample_size import would_hold
from core.jobs.rows import Jobs
from core.jobs.rules import Beside
from core.recipes.fields import PromptTemplate
from core.registry.inheritance import inheritance, lost_updates
from core.registry.read import added_images, ancestors, suites_of
from core.registry.requirements import live_version
from core.registry.version_rows import Versions
from core.registry.versions import Model, Version, VersionStatus
from core.values import Digest, SuiteId

# A test part has about so many times the images of its validation part.
TEST_TIMES = (1 - VALIDATION_SHARE) / VALIDATION_SHARE


def exceeded(plan: EvaluationPlan, answers: AnswersByQuery) -> Iterator[Measure]:
    """Yield the measures of a plan on validation parts that do not fit its policy.

    The plan has no holdout of the candidate's own: less of a step always gains less.
    """
    for measure in measures(EvaluationResults(plan=plan, answers=answers)):
        if not would_hold(measure, plan.policy, times=TEST_TIMES):
            yield measure


def asked_beside(plan: EvaluationPlan) -> Mapping[Digest, tuple[EvalQuery, ...]]:
    """Return what each version has to answer for the comparisons of a plan, by its digest.

    Candidate, parent and live version answer everything.
    """
    found: dict[Digest, dict[Digest, EvalQuery]] = {}
    always = [one for one in (plan.candidate, plan.parent, plan.live) if one]
    for comparison in comparisons(plan):
        for exam, compared in comparison.pairs:
            for version in (*always, compared):
                query: EvalQuery = exam.own
                if isinstance(exam, ClassExam):
                    query = comparison.query(exam, version)
                elif isinstance(exam, RetrievalExam):
                    query = exam.over(comparison.asked)
                found.setdefault(version.digest, {})[query.digest] = query
    return {digest: tuple(queries.values()) for digest, queries in found.items()}


def validated_by(work: Work, version: Version) -> tuple[SuiteId | DatasetRef, ...]:
    """Return the suites and dataset versions whose validation images have chosen how it was mixed.

    They are the model's suites, and the dataset version of the update; or, if it was to fit the
    policy, those of the updates that it may not lose, with what was added to their holdouts.
    """
    if version.recipe is None or not version.recipe.mixing_choice.uses_validation:
        return ()
    job = work[Jobs].get(version.job)
    suites, beside = job.suites or (), job.beside or Beside()
    if version.recipe.mixing_choice.is_best:
        return (*suites, version.data) if version.data else suites
    lost = work[Versions].some(version.model, beside.lost)
    data = (one.data for one in (*ancestors(work, version), *lost.values()) if one.data)
    return (*suites, *beside.added, *dict.fromkeys(data))


# The plan of an update that is not trained yet.


def plan_to_fit(
    work: Work,
    artifacts: Artifacts,
    model: Model,
    line: Sequence[Version],
    *,
    classes: tuple[str, ...],
    prompt: PromptTemplate,
    beside: Beside,
) -> EvaluationPlan:
    """Return what the update of the last version of a line is asked on validation parts.

    `classes` are all that the line will have learned. The candidate has no digest yet, and no
    holdout of its own.
    """
    parent = line[-1]
    plan = _plan(work, artifacts, model, line, _candidate(parent, classes, prompt), beside)
    known = work[Versions].some(model.id, beside.asked)

    def pinned(one: ClassHoldout, otherwise: Version) -> ClassHoldout:
        number = beside.settled.get(str(one.learner.number))
        version = otherwise if number is None else known[number]
        return replace(one, settled=version, anchor=version)

    return replace(
        plan,
        holdouts=tuple(pinned(one, parent) for one in plan.holdouts),
        live_holdouts=tuple(pinned(one, plan.live or parent) for one in plan.live_holdouts),
        captioned=tuple(replace(one, settled=None) for one in plan.captioned),
        live_captioned=tuple(replace(one, settled=None) for one in plan.live_captioned),
        calibration=None,
        root_calibration=None,
    )


def _plan(
    work: Work,
    artifacts: Artifacts,
    model: Model,
    line: Sequence[Version],
    candidate: Version,
    beside: Beside,
) -> EvaluationPlan:
    known = work[Versions].some(model.id, {*beside.lost, *beside.asked})
    added = added_images(work, model.id, beside.added)
    live = None if beside.live is None else known[beside.live]
    lost = [known[number] for number in beside.lost]
    lineage = None
    if live is not None:
        lineage = LiveLineage(
            version=live,
            lineage=frozenset(beside.inherited),
            updates=tuple(held_out_updates(work, artifacts, model, lost, added)),
        )
    return plan_queries(
        model=model,
        policy=work[Policies].get(model.policy),
        candidate=HeldOutUpdate(version=candidate, holdout=()),
        parent=line[-1],
        root=line[0],
        earlier=held_out_updates(work, artifacts, model, line[1:], added),
        suites=[read_suite(work, artifacts, suite) for suite in suites_of(work, model)],
        live=lineage,
        part=Part.VALIDATION,
    )


def versions_beside(
    work: Work, artifacts: Artifacts, model: Model, line: Sequence[Version], alias: str
) -> Beside:
    """Return what the next version of a line is compared with now.

    Versions without weights, and those that learned from images that were erased since, are left
    out.
    """
    parent = line[-1]
    candidate = _candidate(parent, parent.classes, parent.prompt)
    live = live_version(work, candidate, alias)
    if live is not None and not _is_usable(live):
        live = None
    beside = Beside()
    if live is not None:
        beside = Beside(
            live=live.number,
            inherited=tuple(sorted(inheritance(work, live, alias))),
            lost=tuple(one.number for one in lost_updates(work, parent, live, alias)),
        )
    added, judged = added_images(work, model.id), {one.number for one in line}.union(beside.lost)
    pinned = {suite.id for number, suite in added.items() if number in judged}
    beside = replace(beside, added=tuple(sorted(pinned)))
    plan = _plan(work, artifacts, model, line, candidate, beside)
    settled = {
        str(one.learner.number): one.anchor.number
        for one in plan.kept
        if one.anchor is not None and _is_usable(one.anchor)
    }
    return replace(beside, settled=settled)


def are_usable(work: Work, model: Model, beside: Beside) -> bool:
    """Return whether an update can still be compared with what it is to be compared with."""
    known = work[Versions].some(model.id, beside.asked.union(beside.lost))
    asked = [known.get(number) for number in beside.asked]
    return {*beside.lost} <= known.keys() and all(one and _is_usable(one) for one in asked)


def _is_usable(version: Version) -> bool:
    return version.collected_at is None and version.erasure is None


def _candidate(parent: Version, classes: tuple[str, ...], prompt: PromptTemplate) -> Version:
    """Return a version that stands for one that is not made yet."""
    return replace(
        parent,
        number=0,
        digest=Digest(""),
        parent=parent.number,
        status=VersionStatus.CANDIDATE,
        classes=classes,
        prompt=prompt,
    )
