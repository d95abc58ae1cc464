"""Advise on an update before it is ordered."""

from collections import Counter
from collections.abc import Iterator, Sequence

from core.domain.advice.advice import Advice, ClassAdvice
from core.domain.advice.duration import (
    duration_finding,
    expected_duration,
    workload,
)
from core.domain.advice.evidence import GuardingSet, gain_finding, guard_findings
from core.domain.advice.images import image_findings, images_per_class
from core.domain.advice.names import name_findings
from core.domain.advice.zero_shot import overall
from core.domain.datasets.split import Part
from core.domain.datasets.suite import Suite
from core.domain.evaluation.plan_queries import entries_in
from core.domain.jobs.order import UpdateOrder
from core.domain.recipes.exemplar_quota import kept_exemplars
from core.domain.registry.version import Version
from core.ports import Artifacts, Classifier, Decoder, Platform, UnitOfWork
from core.use_cases.datasets.freeze import without_suite_images
from core.use_cases.datasets.manifests import read_manifest
from core.use_cases.registry.lineage import ancestors, holdout_of
from core.use_cases.registry.model_suites import suites_of
from core.use_cases.training.ask_parent import ask_parent
from core.use_cases.training.exemplars import exemplars_of, replayed_versions
from core.use_cases.training.feature_replay import replayed_features
from core.use_cases.training.past_updates import past_updates
from core.use_cases.training.preflight import preflight_order, present_parent


def advise(
    platform: Platform,
    classifier: Classifier,
    decoder: Decoder,
    *,
    model: str,
    order: UpdateOrder,
) -> Advice:
    """Return what to consider before an update is ordered; nothing is queued or written.

    Raises ModelNotFound, and what `preflight_order` raises. Without inference, the advice has
    everything but the parent's accuracy.
    """
    artifacts = platform.artifacts
    with platform.transactions() as work:  # it may lock, as an order does, and is rolled back
        found = work.models.get(model)
        order = preflight_order(work, artifacts, found, order)
        parent = present_parent(work, found.id, order)
    with platform.transactions(read_only=True) as work:
        data = work.datasets.version(order.dataset, order.dataset_version)
        policy = work.policies.get(found.policy)
        suites = suites_of(work, found)
        line = (*ancestors(work, parent), parent) if parent else ()
        guarding = list(_guarding_sets(work, artifacts, line, suites))
        past = list(past_updates(work, found))
        manifest = read_manifest(artifacts, data.manifest)
        lessons = replayed_versions(work, line) if order.recipe.exemplars else ()
        earlier = exemplars_of(
            [read_manifest(artifacts, one.manifest) for one in lessons], manifest.entries
        )
        candidates = Counter(e.class_name.lower() for e in without_suite_images(work, earlier))
    recognised, asked = ask_parent(
        artifacts, classifier, decoder, parent, manifest=manifest, prompt=order.prompt
    )
    classes = images_per_class(manifest)
    train, test = sum(row.train for row in classes), sum(row.test for row in classes)
    recipe = order.recipe
    kept = kept_exemplars(recipe.exemplars_of(candidates.total()), candidates.values())
    replayed = replayed_features(recipe, parent, train, len(classes))
    load = workload(recipe, train, exemplars=replayed + (kept if recipe.exemplars else 0))
    duration = expected_duration(past, recipe, load.images)
    return Advice(
        model=found,
        order=order,
        parent=parent.number if parent else None,
        classes=tuple(
            ClassAdvice(images=row, recognised=recognised.get(row.name)) for row in classes
        ),
        steps=load.steps,
        seconds=duration.seconds if duration else None,
        findings=(
            *image_findings(manifest, classes),
            *name_findings(
                manifest.classes,
                learned=parent.classes if parent else (),
                suites={suite.name: suite.classes for suite in suites},
            ),
            *asked,
            gain_finding(test, overall(recognised) if recognised else None, policy),
            *guard_findings(guarding, policy),
            duration_finding(load.steps, recipe, duration),
        ),
    )


def _guarding_sets(
    work: UnitOfWork, artifacts: Artifacts, line: Sequence[Version], suites: Sequence[Suite]
) -> Iterator[GuardingSet]:
    """Yield what the candidate is compared on besides its own holdout; an image counts once."""
    for suite in suites:
        entries = read_manifest(artifacts, suite.manifest).entries
        yield GuardingSet(name=f"suite {suite.name}", test=len(entries_in(Part.TEST, entries)))
    holdouts = {
        version.number: {entry.pixels for entry in entries_in(Part.TEST, held_out)}
        for version in line
        if (held_out := holdout_of(work, artifacts, version))
    }
    for number, images in holdouts.items():
        yield GuardingSet(name=f"holdout of version {number}", test=len(images))
    if len(holdouts) > 1:
        together = set().union(*holdouts.values())
        yield GuardingSet(name=f"holdouts of {len(holdouts)} updates", test=len(together))
