"""Reports that are stored, also by earlier releases, and read again."""

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


def test_a_report_of_an_earlier_release_opens() -> None:
    report = report_of(second_update(), learned)
    written = report.to_json()
    written["transfer"]["backward_union"] = -0.25
    assert Report.from_json(written) == report


def test_report_survives_json_and_is_the_same_bytes_each_time() -> None:
    report = report_of(second_update(), forgets_cats)
    again = report_of(second_update(), forgets_cats)
    assert report.to_bytes() == again.to_bytes()
    read = Report.from_json(json.loads(report.to_bytes()))
    assert read == replace(report, policy=read.policy, recipe=read.recipe)
    assert read.to_bytes() == report.to_bytes()


def test_a_report_of_before_environments_were_recorded_still_opens() -> None:
    value = report_of(second_update(), learned).to_json()
    del value["environments"], value["exact"]
    report = Report.from_json(json.loads(json.dumps(value)))
    assert (report.environments, report.exact) == ((), None)


def test_a_report_of_before_versions_were_calibrated_still_opens() -> None:
    value = report_of(second_update(), learned).to_json()
    assert value["rejection"] == {"sources": ()}  # too few images
    del value["rejection"]
    assert Report.from_json(json.loads(json.dumps(value))).rejection is None


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


@pytest.mark.parametrize("found", [None, 0, 3, "2"])
def test_report_of_a_format_that_is_not_known_is_refused(found: object) -> None:
    stored = report_of(second_update(), learned).to_json() | {"format": found}
    with pytest.raises(ReportUnreadable):
        Report.from_json(stored)


def test_report_of_the_first_format_is_read() -> None:
    stored = report_of(second_update(), learned).to_json()
    first = {key: stored[key] for key in stored if key not in {"live", "live_digest", "suites"}}
    read = Report.from_json(first | {"format": 1})
    assert (read.live, read.suites) == (None, {})
    assert read.verdict == stored["verdict"]
