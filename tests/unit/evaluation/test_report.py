"""Reports on answers that are chosen image by image, and the facts recorded beside measures."""

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from core.datasets.manifests import Part
from core.datasets.rules import DatasetRef, SuiteKind
from core.errors import AnswersNotFinite, ReportUnreadable
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge import build_report
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.report import Report
from core.evaluation.results import AnswersByQuery
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.rules import Verdict
from core.registry.versions import Version
from core.values import DatasetId
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    SECOND,
    answered,
    entries,
    forgets_cats,
    learned,
    live_line,
    policy,
    report_of,
    right,
    second_update,
    some_thresholds,
    suite,
    taught,
)
from tests.support.factories import NOW


def test_measures_cover_suites_holdouts_and_gain_by_the_policys_tolerances() -> None:
    limits = {"parent_tolerance": 0.01, "root_tolerance": 0.02, "union_tolerance": 0.03}
    report = report_of(second_update(policy=policy(**limits, holdout_tolerance=0.04)), learned)
    measures = list(report.measures)
    assert [(m.kind.value, m.name, m.classes, m.baseline, m.tolerance) for m in measures] == [
        ("zero_shot", "emoji", 4, "parent", 0.01),
        ("zero_shot", "emoji", 4, "root", 0.02),
        ("zero_shot", "emoji", 7, "parent", 0.03),
        ("zero_shot", "emoji", 7, "root", 0.03),
        ("zero_shot", "emoji", 4, "parent", 0.3),
        ("zero_shot", "emoji", 4, "parent", 0.03),
        *[
            (f"{way}", "shapes", None, baseline, tolerance)
            for way in ("image_to_text", "text_to_image")
            # R@1, and among all, then R@5
            for parent, root in ((0.01, 0.02), (0.03, 0.03), (0.01, 0.02), (0.03, 0.03))
            for baseline, tolerance in (("parent", parent), ("root", root))
        ],
        ("holdout", "version 2", 2, "parent and settled version", 0.04),
        ("holdout", "version 2", 4, "parent and settled version", 0.04),
        ("holdout", "version 2", 7, "parent and settled version", 0.04),
        ("holdout", "version 2", 4, "parent", 0.3),
        ("gain", "version 3", 4, "parent", 0.0),
    ]
    assert [n for n, m in enumerate(measures) if m.asked is ClassList.UNION] == [
        2,
        3,
        8,
        9,
        12,
        13,
        16,
        17,
        20,
        21,
        23,
    ]
    assert measures[-1].difference == 1.0


def test_parent_that_is_the_root_is_one_baseline_with_the_lesser_tolerance() -> None:
    plan = second_update(candidate=EARLIER[0], parent=ROOT, earlier=[])
    measure = report_of(plan, learned).measures[0]
    assert (measure.baseline, measure.tolerance) == ("parent and root", 0.03)


def test_forgotten_class_fails_the_gate_and_leads_the_list() -> None:
    report = report_of(second_update(policy=policy(alpha=0.1)), forgets_cats)
    assert report.verdict is Verdict.FAILED
    assert report.measures[0].outcome is Outcome.FAILS
    table = next(t for t in report.changes if t.kind is MeasureKind.ZERO_SHOT)
    worst = table.classes[0]
    assert (worst.class_name, worst.images, worst.lost, worst.right_before) == ("cat", 10, 10, 10)
    assert worst.difference == -1.0
    assert worst.accuracy_upper > 0


def test_recall_is_given_both_ways_for_all_three() -> None:
    def root_is_lost(who: Version, question: EvalQuery, index: int) -> bool:
        return learned(who, question, index) and not (who is ROOT and index == 0)

    report = report_of(second_update(), root_is_lost)
    root = [row for row in report.recalls if row.role == "root"]
    assert [(row.direction.value, row.queries, row.gallery) for row in root] == [
        ("image_to_text", 15, 30),
        ("text_to_image", 30, 15),
    ]
    assert (root[0].at_1, root[0].at_5, root[0].at_10) == (pytest.approx(14 / 15), 1.0, 1.0)
    assert (root[1].at_1, root[1].at_5) == (pytest.approx(28 / 30), pytest.approx(28 / 30))
    assert root[1].at_10 == 1.0


def test_update_without_a_holdout_is_marked() -> None:
    plan = second_update(candidate=HeldOutUpdate(version=SECOND, holdout=()))
    report = report_of(plan, learned)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.transfer.learned is None


def test_missing_answer_is_not_passed_over() -> None:
    plan = second_update()
    answers = answered(plan, learned)
    answers.popitem()
    with pytest.raises(KeyError):
        build_report(plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0)


def broken(plan: EvaluationPlan, version: Version, kind: type[EvalQuery]) -> AnswersByQuery:
    """Right answers to all, but for those of one version to one kind of question: no numbers."""
    answers = answered(plan, right)
    for who, questions in plan.questions:
        for question in questions:
            if who is version and isinstance(question, kind):
                size = len(question.entries)
                lost: Answers
                if isinstance(question, ClassQuery):
                    lost = ClassAnswers(predicted=(len(question.classes),) * size)
                else:
                    captions = sum(len(entry.texts) for entry in question.entries)
                    lost = RetrievalAnswers(
                        image_ranks=(captions,) * size, caption_ranks=(size,) * captions
                    )
                answers[who.digest, question.digest] = lost
    return answers


# shapes in two galleries, emoji and the first holdout over three lists, its own over one
@pytest.mark.parametrize(("kind", "broken_ones"), [(ClassQuery, 7), (RetrievalQuery, 2)])
def test_candidate_whose_answers_are_no_numbers_has_failed_and_says_so(
    kind: type[EvalQuery], broken_ones: int
) -> None:
    plan = second_update(policy=policy(parent_tolerance=1.0, root_tolerance=1.0))
    answers = broken(plan, SECOND, kind)
    report = build_report(
        plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
    )
    assert report.verdict is Verdict.FAILED
    assert report.reasons[0] == (
        f"The version's features contain NaN or infinity in {broken_ones} of 9 evaluations, so it "
        "cannot be used. Images with such features count as wrong below."
    )


@pytest.mark.parametrize("version", [FIRST, ROOT])
def test_baseline_whose_answers_are_no_numbers_is_an_error(version: Version) -> None:
    plan = second_update()
    answers = broken(plan, version, ClassQuery)
    with pytest.raises(AnswersNotFinite) as refusal:
        build_report(plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0)
    assert refusal.value.message == (
        f"The features of version {version.number}, which the candidate is compared with, contain "
        "NaN or infinity, so the comparison is impossible."
    )
    assert refusal.value.facts == {"version": version.number}


def test_wanted_gain_is_a_tolerance_with_its_sign_turned() -> None:
    wanting = second_update(policy=policy(wanted_gain=0.3, alpha=0.2, root_tolerance=1.0))
    gain = report_of(wanting, learned).measures[-1]
    assert (gain.kind, gain.tolerance) == (MeasureKind.GAIN, -0.3)


def test_a_gain_is_shown_with_an_error_of_its_own() -> None:
    """Five of nineteen answers won and none lost is what chance does in 1 of 32 updates."""
    report = report_of(second_update(), learned)
    gain = replace(report.measures[-1], count=19, images=19, distinct=19, gained=5, lost=0)
    few = replace(report, measures=(*report.measures[:-1], gain))
    for error, outcome in ((0.05, Outcome.HOLDS), (0.005, Outcome.OPEN)):
        again = judge_again(few, policy(alpha=0.005, gain_error=error)).measures[-1]
        assert (again.kind, again.level, again.outcome) == (MeasureKind.GAIN, error, outcome)


def beside(**changes: object) -> EvaluationPlan:
    """The examination of version 3 while version 9 is live, which has learned hat and sock."""
    ninth, _ = live_line().updates
    live = LiveLineage(version=ninth.version, lineage=frozenset({1, 9}), updates=(ninth,))
    return second_update(live=live, **changes)


def test_what_would_be_replaced_is_a_baseline_of_the_suites_and_of_what_it_has_learned() -> None:
    chosen = policy(parent_tolerance=0.01, root_tolerance=0.02, holdout_tolerance=0.04)
    report = report_of(beside(policy=chosen), learned)
    found = {
        (r.kind.value, r.name, r.asked.value): (r.baseline_version, r.tolerance)
        for r in report.measures
        if "live version" in r.baseline
    }
    assert found == {
        ("zero_shot", "emoji", "own"): (9, 0.01),
        ("zero_shot", "emoji", "union"): (9, 0.05),
        ("image_to_text", "shapes", "own"): (9, 0.01),
        ("text_to_image", "shapes", "own"): (9, 0.01),
        ("image_to_text", "shapes", "union"): (9, 0.05),
        ("text_to_image", "shapes", "union"): (9, 0.05),
        ("holdout", "version 2", "own"): (9, 0.04),
        ("holdout", "version 2", "union"): (9, 0.04),
        ("holdout", "version 2", "with_suites"): (9, 0.05),
        ("holdout", "version 9", "own"): (9, 0.04),
        ("holdout", "version 9", "union"): (9, 0.04),
        ("holdout", "version 9", "with_suites"): (9, 0.05),
        ("holdout", "version 9", "default"): (9, 0.3),
        ("holdout", "version 3", "own"): (9, 0.04),
    }
    assert (report.live, report.retention) == (9, 1.0)
    assert report.images["version 9"] == 20
    assert [task.version for task in report.tasks] == [2, 3]
    assert [(row.role, row.version) for row in report.lists if row.name == "version 9"] == [
        ("candidate", 3),
        ("live", 9),
    ]
    assert any(table.name == "version 9" for table in report.changes)


def test_report_names_the_suites_it_answered_also_those_without_a_test_image() -> None:
    unseen = suite("unseen", entries("u", [("cat",)] * 3, Part.VALIDATION), SuiteKind.ZERO_SHOT)
    report = report_of(second_update(suites=[unseen]), learned)
    assert report.suites == {"suite_unseen": "unseen"}
    assert "unseen" not in report.images


def full_report() -> Report:
    """A report of a version about which everything is recorded."""
    trained = replace(
        SECOND,
        reference=DatasetRef(dataset=DatasetId("ds_9"), version=4),
        notes={"mixing": 0.7},
        environments=({"device": "cpu"}, {"device": "cuda"}),
    )
    plan = second_update(
        candidate=replace(EARLIER[1], version=trained),
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
            "union_tolerance": 0.05,
            "holdout_tolerance": 0.05,
            "settled_tolerance": 0.08,
            "swallow_tolerance": 0.1,
            "default_list_tolerance": 0.3,
            "class_tolerance": 0.3,
            "wanted_gain": 0.0,
            "gain_error": 0.05,
            "minimum_count": 21,
            "alpha": 0.1,
            "views": 2,
            "line_error": 0.05,
            "line_updates": 100,
            "negative_flips": 0.5,
            "same_names": (),
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
    calibration = some_thresholds()
    answers = answered(plan, right) | {
        (SECOND.digest, plan.calibration.digest): calibration,
    }
    report = build_report(
        plan, answers, previous=None, spending={}, judged_before=0, near_duplicates=0
    )
    assert report.rejection == calibration
    assert Report.from_json(json.loads(report.to_bytes())).rejection == calibration


def test_the_documented_report_is_the_stored_one() -> None:
    stored = json.loads(full_report().to_bytes())
    report = TypeAdapter(Report)
    assert report.dump_python(report.validate_python(stored), mode="json") == stored
    schema = report.json_schema(mode="serialization")
    assert stored.keys() == schema["properties"].keys()
    assert stored["measures"][0].keys() == schema["$defs"]["Ruling"]["properties"].keys()


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


def test_a_live_version_that_is_the_root_is_one_baseline_with_the_lesser_tolerance() -> None:
    live = LiveLineage(version=ROOT, lineage=frozenset({1}), updates=())
    measures = report_of(second_update(live=live), learned).measures
    found = [(m.baseline, m.tolerance) for m in measures if m.name == "emoji"]
    assert found[:2] == [("parent", 0.03), ("live version and root", 0.03)]
    assert found[2:4] == [("parent", 0.05), ("live version and root", 0.05)]
    assert found[4:] == [("parent", 0.3), ("parent", 0.05)]  # the root has learned nothing


def test_a_class_with_many_images_does_not_hide_that_the_others_of_the_update_are_lost() -> None:
    """Each other class has too few images to fail the version by itself."""
    names = ("big", *(f"x{n}" for n in range(40)))
    update = taught(ROOT, 2, names)
    images = entries("own", [("big",)] * 400 + [(name,) for name in names[1:]] * 8)
    plan = second_update(
        candidate=HeldOutUpdate(version=update, holdout=images), parent=ROOT, earlier=[]
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if question.entries != images:
            return True
        return (question.entries[index].class_name == "big") == (who == update)

    report = report_of(plan, right)
    [gain] = [one for one in report.measures if one.kind is MeasureKind.GAIN]
    assert (gain.gained, gain.lost, gain.outcome) == (400, 320, Outcome.OPEN)
    assert gain.class_mean is not None
    assert gain.class_mean.at_most == gain.class_mean.mean == pytest.approx((1 - 40) / 41)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any("In the mean of 41 classes it is −95.1 points" in one for one in report.reasons)
    assert judge_again(report, plan.policy).verdict is Verdict.INCONCLUSIVE
