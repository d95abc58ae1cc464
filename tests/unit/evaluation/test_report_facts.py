"""Facts that a report records beside its measures, written and read back."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from core.datasets.manifests import Part
from core.datasets.rules import DatasetRef
from core.errors import ReportUnreadable
from core.evaluation.judge import build_report
from core.evaluation.plan import EvaluationPlan, HeldOutUpdate, LiveLineage
from core.evaluation.queries import EvalQuery
from core.evaluation.report import Report
from core.gate.measures import Measure, MeasureKind
from core.registry.versions import Version
from core.rejection.rules import (
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
)
from core.values import DatasetId
from tests.support.evaluation.evaluations import (
    FIRST,
    NOW,
    ROOT,
    SECOND,
    answered,
    entries,
    policy,
    report_of,
    right,
    second_update,
    taught,
)

BOOTS = entries("second", [("boot",), ("coat",)] * 10)


def live_line() -> LiveLineage:
    """Versions 9 and 10, which have learned what the candidate has not; version 10 is live."""
    ninth = taught(ROOT, 9, ("hat", "sock"))
    tenth = taught(ninth, 10, ("cup", "jar"))
    return LiveLineage(
        version=tenth,
        updates=(
            HeldOutUpdate(version=ninth, holdout=entries("ninth", [("hat",), ("sock",)] * 10)),
            HeldOutUpdate(version=tenth, holdout=entries("tenth", [("cup",), ("jar",)] * 5)),
        ),
    )


def full_report() -> Report:
    """A report of a version about which everything is recorded."""
    trained = replace(
        SECOND,
        reference=DatasetRef(dataset=DatasetId("ds_9"), version=4),
        notes={"mixing": 0.7},
        environments=({"device": "cpu"}, {"device": "cuda"}),
    )
    plan = second_update(
        candidate=HeldOutUpdate(version=trained, holdout=BOOTS),
        live=live_line(),
        policy=policy(alpha=0.1, line_error=0.05, negative_flips=0.5),
    )
    return report_of(plan, right)


def test_report_records_what_was_judged_by_what_and_how_it_was_made() -> None:
    stored = full_report().to_json()
    assert SECOND.recipe is not None
    live = live_line().version
    expected: dict[str, Any] = {
        "format": 2,
        "model": "demo",
        "version": 3,
        "digest": SECOND.digest,
        "parent": 2,
        "parent_digest": FIRST.digest,
        "root": 1,
        "root_digest": ROOT.digest,
        "live": 10,
        "live_digest": live.digest,
        "suites": {"suite_emoji": "emoji", "suite_shapes": "shapes"},
        "recipe": SECOND.recipe.to_json(),
        "dataset": "ds_1",
        "dataset_version": 1,
        "update_classes": ("boot", "coat"),
        "classes": ("bag", "shirt", "boot", "coat"),
        "prompt": SECOND.prompt.text,
        "policy": {
            "id": "gate_1",
            "name": "default",
            "parent_tolerance": 0.03,
            "root_tolerance": 0.05,
            "holdout_tolerance": 0.05,
            "wanted_gain": 0.0,
            "minimum_count": 10,
            "alpha": 0.1,
            "line_error": 0.05,
            "line_updates": 100,
            "negative_flips": 0.5,
            "reason": "",
            "created_at": NOW.isoformat(),
        },
        "judged_before": 2,
        "near_duplicates": 1,
        "images": {
            "emoji": 40,
            "shapes": 15,
            "version 2": 20,
            "version 3": 20,
            "version 9": 20,
            "version 10": 10,
        },
        "reference": {"dataset": "ds_9", "version": 4},
        "notes": {"mixing": 0.7},
        "environments": ({"device": "cpu"}, {"device": "cuda"}),
        "exact": False,
    }
    assert {name: stored[name] for name in expected} == expected


def test_every_measure_is_stored_with_its_outcome() -> None:
    report = full_report()
    for ruling, row in zip(report.measures, report.to_json()["measures"], strict=True):
        assert row == asdict(ruling)


def test_report_of_which_everything_is_recorded_is_read_back() -> None:
    report = full_report()
    assert report.budgets
    read = Report.from_json(json.loads(report.to_bytes()))
    assert read == replace(report, policy=read.policy, recipe=read.recipe)
    assert read.to_bytes() == report.to_bytes()


def test_the_candidates_thresholds_stand_in_its_report() -> None:
    images = entries("both", [("boot",), ("coat",)] * 12)
    images += entries("both", [("boot",), ("coat",)] * 12, Part.VALIDATION)
    plan = second_update(candidate=HeldOutUpdate(version=SECOND, holdout=images))
    assert plan.calibration is not None
    rate = ErrorRate(rate=0.1, lower=0.0, upper=0.2, images=24)
    threshold = Threshold(rate=0.1, threshold=0.3, false_rejection=rate, false_acceptance=rate)
    lists = ListCalibration(
        size=1, statistic=Statistic.MAX_COSINE, auroc=0.75, thresholds=(threshold,)
    )
    source = SourceCalibration(name="x", classes=("a", "b"), prompt="{name}", lists=(lists,))
    calibration = Calibration(sources=(source,))
    answers = answered(plan, right) | {
        (SECOND.digest, plan.calibration.digest): calibration,
    }
    report = build_report(
        plan, answers, previous=None, verdicts={}, judged_before=0, near_duplicates=0
    )
    assert report.rejection == calibration
    assert Report.from_json(json.loads(report.to_bytes())).rejection == calibration


@pytest.mark.parametrize("found", [None, 0, 1, 3, "2"])
def test_report_of_a_format_that_is_not_known_is_refused(found: object) -> None:
    stored = report_of(second_update(), right).to_json() | {"format": found}
    with pytest.raises(ReportUnreadable) as refusal:
        Report.from_json(stored)
    assert refusal.value.facts == {"format": found, "readable": [2]}


def test_retention_is_a_share_of_what_the_root_knew() -> None:
    def partly(who: Version, question: EvalQuery, index: int) -> bool:
        """On the 40 images of the suite the root is right about 30, the candidate about 20."""
        return index < {1: 30, 2: 40, 3: 20}[who.number]

    report = report_of(second_update(), partly)
    assert report.retention == pytest.approx(2 / 3)
    assert report.zero_shot_change == pytest.approx(-0.25)


def test_nothing_is_retained_of_what_the_root_did_not_know() -> None:
    report = report_of(second_update(), lambda who, question, index: who.number > 1)
    assert (report.retention, report.zero_shot_change) == (None, 1.0)


def together(plan: EvaluationPlan, wrong: int, wrong_before: int) -> Measure:
    """The holdouts of two updates as one measure.

    The candidate is wrong about the first few images of each, the others about some of them.
    """

    def partly(who: Version, question: EvalQuery, index: int) -> bool:
        return index >= (wrong if who.number == plan.candidate.number else wrong_before)

    rulings = report_of(plan, partly).measures
    (found,) = (one for one in rulings if one.kind is MeasureKind.HOLDOUTS)
    return found


def test_holdouts_of_the_line_are_measured_together_against_whoever_learned_them() -> None:
    third = taught(SECOND, 4, ("hat",))
    plan = second_update(
        candidate=HeldOutUpdate(version=third, holdout=entries("third", [("hat",)] * 10)),
        parent=SECOND,
        earlier=[
            HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10)),
            HeldOutUpdate(version=SECOND, holdout=BOOTS),
        ],
        policy=policy(holdout_tolerance=0.07),
    )
    found = together(plan, 3, 1)
    assert (found.name, found.baseline) == ("2 updates", "versions that learned them")
    assert (found.baseline_version, found.tolerance) == (None, 0.07)
    assert (found.images, found.count) == (40, 40)
    assert (found.right, found.right_before, found.gained, found.lost) == (34, 38, 0, 4)


def test_holdouts_of_the_live_version_are_measured_together_against_it() -> None:
    plan = second_update(live=live_line(), policy=policy(holdout_tolerance=0.07))
    found = together(plan, 1, 2)
    assert (found.name, found.baseline) == ("2 updates of the live version", "live version")
    assert (found.baseline_version, found.tolerance) == (10, 0.07)
    assert (found.images, found.count) == (30, 30)
    assert (found.right, found.right_before, found.gained, found.lost) == (28, 26, 2, 0)
