"""The classes of a line that no test image guards against forgetting."""

from collections.abc import Iterable, Sequence

from core.datasets.manifests import ManifestEntry, Part
from core.datasets.rules import SuiteKind
from core.evaluation.exams import ScoredSuite, entries_in
from core.evaluation.plan import EvaluationPlan
from core.evaluation.queries import meaning_of
from core.evaluation.report import Unguarded
from core.gate.rules import GatePolicy


def unguarded_in(plan: EvaluationPlan) -> tuple[Unguarded, ...]:
    """Return the classes that a candidate could forget without a measure that shows it.

    They were taught to its ancestors, or to the live version that it would replace and to the
    ancestors of that one. Test images in a suite or in an earlier holdout guard a class. Those in
    the candidate's own holdout do not: beside the gain over all its classes together, they show
    only a class that lost more than the limit for single ones.
    """
    exams = [*plan.zero_shot, *(one.exam for one in plan.kept)]
    images = [entry for exam in exams for entry in exam.own.entries]
    return tuple(
        Unguarded(version=version.number, imported=version.origin is not None, classes=classes)
        for version in plan.teachers
        if (classes := without_images(version.update_classes, images, plan.policy))
    )


def without_images(
    classes: Sequence[str], images: Iterable[ManifestEntry], policy: GatePolicy
) -> tuple[str, ...]:
    """Return the classes of which there is no image, by any name that the policy calls the same.

    Case is ignored.
    """
    meanings = policy.meanings
    shown = {meaning_of(entry.class_name, meanings) for entry in images}
    return tuple(name for name in classes if meaning_of(name, meanings) not in shown)


def guarding_images(suite: ScoredSuite) -> tuple[ManifestEntry, ...]:
    """Return the test images with which a suite guards classes: only labelled ones name any."""
    if suite.suite.kind is not SuiteKind.ZERO_SHOT:
        return ()
    return entries_in(Part.TEST, suite.manifest.entries)
