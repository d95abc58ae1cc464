"""Reports that are stored and read again."""

import json
from dataclasses import replace

import pytest

from core.datasets.manifests import Part
from core.errors import ReportUnreadable
from core.evaluation.judge import build_report
from core.evaluation.plan import HeldOutUpdate
from core.evaluation.report import Report
from core.rejection.rules import (
    Calibration,
    ErrorRate,
    ListCalibration,
    SourceCalibration,
    Statistic,
    Threshold,
)
from tests.support.evaluation.evaluations import (
    SECOND,
    answered,
    entries,
    forgets_cats,
    learned,
    report_of,
    second_update,
)


def test_report_survives_json_and_is_the_same_bytes_each_time() -> None:
    report = report_of(second_update(), forgets_cats)
    again = report_of(second_update(), forgets_cats)
    assert report.to_bytes() == again.to_bytes()
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
    answers = answered(plan, learned) | {
        (SECOND.digest, plan.calibration.digest): calibration,
    }
    report = build_report(
        plan, answers, previous=None, verdicts={}, judged_before=0, near_duplicates=0
    )
    assert report.rejection == calibration
    assert Report.from_json(json.loads(report.to_bytes())).rejection == calibration


@pytest.mark.parametrize("found", [None, 0, 1, 3, "2"])
def test_report_of_a_format_that_is_not_known_is_refused(found: object) -> None:
    stored = report_of(second_update(), learned).to_json() | {"format": found}
    with pytest.raises(ReportUnreadable):
        Report.from_json(stored)
