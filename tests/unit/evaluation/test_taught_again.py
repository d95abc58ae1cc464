"""Images that update after update teaches again, as of a dataset that grows."""

import random
from collections.abc import Sequence

import pytest

from core.datasets.manifests import ManifestEntry
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.plan import EvaluationPlan, plan_queries
from core.evaluation.queries import EvalQuery
from core.gate.kinds import SETTLED, MeasureKind
from core.gate.measures import Measure
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    MODEL,
    ROOT,
    answered,
    entries,
    policy,
    report_of,
    taught,
)
from tests.support.evaluation.evidence import evidence_of
from tests.support.second_gate.verdict import agrees

UPDATES, TAUGHT = 6, ("bag", "hat")


def a_line(shared: Sequence[ManifestEntry], own: int) -> EvaluationPlan:
    """Updates that each hold out the same images and some of their own, and then another one."""
    before, earlier = ROOT, []
    for number in range(2, 2 + UPDATES):
        before = taught(before, number, TAUGHT)
        more = entries(f"more {number}", [(name,) for name in TAUGHT] * (own // 2))
        earlier.append(HeldOutUpdate(version=before, holdout=(*shared, *more)))
    candidate = HeldOutUpdate(
        version=taught(before, 2 + UPDATES, ("sun", "moon")),
        holdout=entries("own", [("sun",), ("moon",)] * 20),
    )
    return plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=candidate,
        parent=before,
        root=ROOT,
        earlier=earlier,
        suites=[],
    )


def together(plan: EvaluationPlan, right: object) -> Measure:
    """The measure of all holdouts against the settled versions."""
    report = report_of(plan, right)  # type: ignore[arg-type]
    (found,) = (
        one
        for one in report.measures
        if one.kind is MeasureKind.HOLDOUTS
        and one.baseline == SETTLED
        and one.asked == "own"
        and not one.only_fails
    )
    return found


def test_chance_takes_nothing_from_images_that_every_update_teaches() -> None:
    """Each version is wrong about another tenth; of six, one nearly always was right."""
    plan = a_line(entries("shared", [(name,) for name in TAUGHT] * 75), own=4)

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        image = query.entries[index]
        return random.Random(f"{who.number} {image.pixels}").random() < 0.9

    measure = together(plan, right)
    assert measure.distinct == 150 + 4 * UPDATES
    assert abs(measure.difference) < 0.03
    assert measure.gained > 5
    agrees(evidence_of(plan, answered(plan, right)))


@pytest.mark.parametrize("from_version", [3, 8])
def test_whoever_teaches_images_again_does_not_hide_that_they_were_lost(from_version: int) -> None:
    """Version 2 knew them; a later one lost them, and it counts whichever it was."""
    shared = entries("shared", [(name,) for name in TAUGHT] * 75)
    plan = a_line(shared, own=4)
    lost = {image.pixels for image in shared[::4]}

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        return who.number < from_version or query.entries[index].pixels not in lost

    measure = together(plan, right)
    assert (measure.lost, measure.gained) == (len(lost), 0)
    agrees(evidence_of(plan, answered(plan, right)))
