"""Reports on answers that are chosen image by image."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from core.datasets.manifests import ManifestEntry, Part
from core.datasets.rules import DatasetRef, SuiteKind
from core.errors import AnswersNotFinite, ReportUnreadable
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge import build_report
from core.evaluation.judge_again import judge_again
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.evaluation.report import Report
from core.evaluation.results import AnswersByQuery, EvaluationResults
from core.gate.guards import has_images
from core.gate.kinds import ClassList, MeasureKind, Outcome
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.registry.versions import Version
from core.values import DatasetId
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    SECOND,
    THIRD,
    answered,
    answering,
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
    third_update,
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
        *[
            (f"{way}", "shapes", None, baseline, tolerance)
            for way in ("image_to_text", "text_to_image")
            for _ in ("R@1", "R@5")
            for baseline, tolerance in (("parent", 0.01), ("root", 0.02))
        ],
        ("holdout", "version 2", 2, "parent and settled version", 0.04),
        ("holdout", "version 2", 4, "parent and settled version", 0.04),
        ("holdout", "version 2", 7, "parent and settled version", 0.04),
        ("holdout", "version 2", 4, "parent", 0.3),
        ("gain", "version 3", 4, "parent", 0.0),
    ]
    assert [n for n, m in enumerate(measures) if m.asked is ClassList.UNION] == [2, 3, 13]
    assert measures[-1].difference == 1.0


def test_parent_that_is_the_root_is_one_baseline_with_the_lesser_tolerance() -> None:
    plan = second_update(candidate=EARLIER[0], parent=ROOT, earlier=[])
    measure = report_of(plan, learned).measures[0]
    assert (measure.baseline, measure.tolerance) == ("parent and root", 0.03)


def test_forgotten_class_fails_the_gate_and_leads_the_list() -> None:
    report = report_of(second_update(policy=policy(alpha=0.05)), forgets_cats)
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


# shapes, emoji over two lists, the first holdout over three, its own holdout over one
@pytest.mark.parametrize(("kind", "broken_ones"), [(ClassQuery, 6), (RetrievalQuery, 1)])
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
        f"The version's features contain NaN or infinity in {broken_ones} of 7 evaluations, so it "
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
        ("holdout", "version 2", "own"): (9, 0.04),
        ("holdout", "version 2", "union"): (9, 0.04),
        ("holdout", "version 2", "with_suites"): (9, 0.05),
        ("holdouts", "2 updates of both lines", "own"): (9, 0.04),
        ("holdouts", "2 updates of both lines", "union"): (9, 0.04),
        ("holdouts", "2 updates of both lines", "with_suites"): (9, 0.05),
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


# ---- Facts that are recorded beside the measures -------------------------------------------


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


def losing(**wrong: int) -> Callable[[Version, EvalQuery, int], bool]:
    """Each version is wrong about the first few images of each query: `v4=3` of version 4."""
    return lambda who, question, index: index >= wrong.get(f"v{who.number}", 0)


def pools(report: Report) -> dict[str, Measure]:
    """The measures of several holdouts together over their own lists, by baseline."""
    pooled = [one for one in report.measures if one.kind is MeasureKind.HOLDOUTS]
    return {one.baseline: one for one in pooled if one.asked is ClassList.OWN}


def test_holdouts_of_the_line_are_measured_together_against_the_parent_and_settled_versions() -> (
    None
):
    plan = third_update(policy=policy(holdout_tolerance=0.07, settled_tolerance=0.09))
    found = pools(report_of(plan, losing(v4=3, v3=1, v2=2)))
    assert {(m.name, m.images, m.count) for m in found.values()} == {("2 updates", 40, 40)}
    parent, settled = found["parent"], found["settled version"]
    assert (parent.baseline_version, parent.tolerance) == (3, 0.07)
    assert (parent.right, parent.right_before, parent.gained, parent.lost) == (34, 38, 0, 4)
    assert (settled.baseline_version, settled.tolerance) == (None, 0.09)
    assert (settled.right_before, settled.lost) == (18 + 19, 1 + 2)


@pytest.mark.parametrize("updates", [1, 2])
def test_holdouts_are_pooled_only_where_there_are_several(updates: int) -> None:
    plan = second_update() if updates == 1 else third_update()
    measures = report_of(plan, right).measures
    alone = [m.pooled for m in measures if m.kind is MeasureKind.HOLDOUT]
    assert set(alone) == {updates > 1}
    assert not any(m.pooled for m in measures if m.kind is not MeasureKind.HOLDOUT)


def test_a_large_holdout_stands_alone_so_that_it_hides_no_loss_of_several_small_ones() -> None:
    """Five small updates lose 15 points each; an earlier one of 800 images loses nothing."""
    names = [("bag",), ("shirt",)]
    small, before = list[HeldOutUpdate](), ROOT
    for number in range(2, 8):
        before, count = taught(before, number, ("bag", "shirt")), 20 if number < 7 else 400
        images = entries(f"update {number}", names * count)
        small.append(HeldOutUpdate(version=before, holdout=images))
    candidate = HeldOutUpdate(
        version=taught(before, 8, ("hat",)), holdout=entries("own", [("hat",)])
    )
    emoji = suite("emoji", entries("many", [("cat",), ("dog",)] * 500), SuiteKind.ZERO_SHOT)

    def forgets(who: Version, question: EvalQuery, index: int) -> bool:
        return who.number < 8 or len(question.entries) > 40 or index % 20 > 2

    def judged(earlier: list[HeldOutUpdate]) -> Report:
        plan = second_update(
            policy=policy(minimum_count=350, class_tolerance=None),
            candidate=candidate,
            parent=before,
            earlier=earlier,
            suites=[emoji],
        )
        return report_of(plan, forgets)

    beside = judged(small)
    assert judged(small[:-1]).verdict is beside.verdict is Verdict.FAILED
    pool = next(m for m in beside.measures if m.kind is MeasureKind.HOLDOUTS)
    assert (pool.name, pool.images, pool.lost) == ("5 updates", 200, 30)
    large = [m for m in beside.measures if m.name == "version 7"]
    assert {(m.pooled, has_images(m, 350)) for m in large} == {(False, True)}


def test_a_holdout_counts_as_pooled_only_if_it_is_with_all_that_its_baseline_is() -> None:
    measures = report_of(second_update(live=live_line()), right).measures
    found = {(m.name, m.baseline): m.pooled for m in measures if m.kind is MeasureKind.HOLDOUT}
    assert found == {
        ("version 2", "parent and settled version"): False,  # the parent has no other holdout
        ("version 2", "parent"): False,  # by default
        ("version 2", "live version"): True,
        ("version 9", "live version"): True,
        ("version 9", "settled version"): True,
        ("version 10", "live version and settled version"): True,
        ("version 10", "live version"): True,  # by default
        ("version 3", "live version"): True,  # its own, of which the gain is as well
    }


def test_holdouts_of_the_live_version_are_measured_together_against_it() -> None:
    plan = second_update(live=live_line(), policy=policy(holdout_tolerance=0.07))
    found = pools(report_of(plan, losing(v3=1, v10=2)))
    live, both = found["live version"], found["settled version"]
    assert (live.name, live.baseline_version) == ("3 updates of both lines", 10)
    assert (live.images, live.count, live.tolerance) == (50, 50, 0.07)
    assert (live.right, live.right_before, live.gained, live.lost) == (47, 44, 3, 0)
    assert (both.name, both.images) == ("3 updates of both lines", 50)


def fourth_update(**changes: Any) -> EvaluationPlan:
    """The examination of version 5, which has learned cap; version 3 went live before version 4."""
    line = [EARLIER[0], replace(EARLIER[1], passed=True)]
    line.append(HeldOutUpdate(version=THIRD, holdout=entries("third", [("hat",)] * 20)))
    fifth = taught(THIRD, 5, ("cap",))
    candidate = HeldOutUpdate(version=fifth, holdout=entries("fifth", [("cap",)] * 10))
    given: dict[str, Any] = {"candidate": candidate, "parent": THIRD, "earlier": line}
    return second_update(**given | changes)


def test_a_holdout_is_compared_with_the_parent_the_live_and_wider_the_settled_version() -> None:
    live = LiveLineage(version=FIRST, lineage=frozenset({1, 2}), updates=())
    report = report_of(fourth_update(live=live), right)
    assert (report.live, report.parent) == (2, 4)
    found = {
        (m.name, m.baseline, m.baseline_version): m.tolerance
        for m in report.measures
        if (m.kind, m.asked) == (MeasureKind.HOLDOUT, ClassList.OWN)
    }
    assert found == {
        ("version 2", "parent", 4): 0.05,
        ("version 2", "live version", 2): 0.05,
        ("version 2", "settled version", 3): 0.08,
        # the live version has not learned these two, but what it is right about may not be lost
        ("version 3", "live version", 2): 0.05,
        ("version 4", "live version", 2): 0.05,
        ("version 5", "live version", 2): 0.05,  # what it was taught itself
        ("version 3", "parent", 4): 0.05,
        ("version 3", "settled version", 3): 0.08,
        ("version 4", "parent and settled version", 4): 0.05,
    }
    assert {m.baseline for m in report.measures if m.name == "emoji"} == {
        "parent",
        "live version",
        "root",
        "settled version",
    }
    assert pools(report)["parent"].images == 60


def test_what_a_line_has_gained_on_a_suite_is_not_lost_in_steps() -> None:
    """Version 3 went live by passing, and is right about pets, of which the root knows none."""
    plan = fourth_update(policy=policy(class_tolerance=None))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        if isinstance(question, RetrievalQuery):
            return True
        return question.entries[index].class_name not in {"cat", "dog"} or who.number == 3

    report = report_of(plan, right)
    settled = [
        m
        for m in report.measures
        if m.name in {"emoji", "shapes"} and m.baseline == "settled version"
    ]
    assert {(m.name, m.kind.value, m.baseline_version, m.tolerance) for m in settled} == {
        ("emoji", "zero_shot", 3, 0.08),
        ("shapes", "image_to_text", 3, 0.08),
        ("shapes", "text_to_image", 3, 0.08),
    }
    assert [m.outcome for m in settled if m.name == "emoji"] == [Outcome.FAILS]
    assert any("Top-1 on emoji against the settled version 3" in one for one in report.reasons)
    assert (report.verdict, judge_again(report, plan.policy).verdict) == ("failed", "failed")


def test_losses_that_each_update_may_have_do_not_add_up_unseen() -> None:
    limits = {"holdout_tolerance": 0.2, "settled_tolerance": 0.25, "alpha": 0.2}
    plan = fourth_update(policy=policy(**limits, parent_tolerance=1.0, root_tolerance=1.0))
    report = report_of(plan, losing(v4=11, v5=13))
    outcomes = {
        m.baseline: m.outcome
        for m in report.measures
        if (m.name, m.asked) == ("version 2", ClassList.OWN)
    }
    assert outcomes == {"parent": Outcome.HOLDS, "settled version": Outcome.FAILS}
    assert report.verdict is Verdict.FAILED


def test_what_each_update_may_swallow_does_not_add_up_unseen() -> None:
    """Nothing is forgotten over the old list, and each update takes what one update may."""
    limits = {"holdout_tolerance": 0.2, "swallow_tolerance": 0.2, "alpha": 0.2}
    plan = fourth_update(policy=policy(**limits, parent_tolerance=1.0, root_tolerance=1.0))
    bags = plan.holdouts[0].exam
    wrong = {3: 0, 4: 10, 5: 12}

    def swallowing(who: Version, question: EvalQuery, index: int) -> bool:
        return question != bags.union or index >= wrong.get(who.number, 0)

    report = report_of(plan, swallowing)
    outcomes = {
        (m.baseline, m.asked): m.outcome
        for m in report.measures
        if m.name == "version 2" and not m.only_fails
    }
    assert outcomes == {
        ("parent", ClassList.OWN): Outcome.HOLDS,
        ("settled version", ClassList.OWN): Outcome.HOLDS,
        ("parent", ClassList.UNION): Outcome.HOLDS,
        ("settled version", ClassList.UNION): Outcome.FAILS,
    }
    assert report.verdict is Verdict.FAILED
    (told,) = (m for m in report.measures if m.outcome is Outcome.FAILS and m.pooled)
    assert (told.tolerance, told.baseline_version) == (0.2, 3)


def test_a_live_version_that_is_the_root_is_one_baseline_with_the_lesser_tolerance() -> None:
    live = LiveLineage(version=ROOT, lineage=frozenset({1}), updates=())
    measures = report_of(second_update(live=live), learned).measures
    found = [(m.baseline, m.tolerance) for m in measures if m.name == "emoji"]
    assert found[:2] == [("parent", 0.03), ("live version and root", 0.03)]
    assert found[2:] == [("parent", 0.05), ("live version and root", 0.05)]


# ---- All classes to choose from --------------------------------------------------------------


def test_a_version_that_answers_its_newest_class_for_everything_fails() -> None:
    report = answering(third_update(policy=policy(alpha=0.05)), lambda entry, n: "hat")
    own = [m for m in report.measures if m.asked is ClassList.OWN]
    assert {m.lost for m in own} == {0}
    swallowed = {(m.name, m.classes, m.lost) for m in report.measures if m.outcome is Outcome.FAILS}
    assert swallowed == {
        ("emoji", 8, 40),
        ("version 2", 5, 20),
        ("version 3", 5, 20),
        ("2 updates", 5, 40),
        ("version 2", 8, 20),
        ("version 3", 8, 20),
        ("2 updates", 8, 40),
    }
    assert report.verdict is Verdict.FAILED
    assert "with all 8 classes to choose from: 0 of 40 answers" in report.summary.lost
    assert report.summary.go_live == (
        "It may not go live: newer classes take more of the earlier ones' answers than the limits "
        "allow; callers who send no classes would lose more than the limit allows; a single "
        "class lost more than the limit allows."
    )
    assert (
        "Top-1 on the pooled holdouts of 2 updates, with all 5 classes to choose from, against"
        in (" ".join(report.reasons))
    )


def test_both_versions_choose_from_all_that_the_candidate_has_learned() -> None:
    def never_of_five(who: Version, question: EvalQuery, index: int) -> bool:
        return not (
            who is SECOND and isinstance(question, ClassQuery) and len(question.classes) == 5
        )

    report = report_of(third_update(), never_of_five)
    union = [m for m in report.measures if (m.name, m.asked) == ("version 2", ClassList.UNION)]
    found = [(m.baseline, m.right, m.right_before) for m in union]
    assert found == [("parent", 20, 0), ("settled version", 20, 20)]


def test_what_newer_classes_swallow_does_not_add_up_over_a_line() -> None:
    """The candidate swallows no more than its parent; together they took 7 of 10 images."""

    def swallows(who: Version, question: EvalQuery, index: int) -> bool:
        among_all = isinstance(question, ClassQuery) and len(question.classes) == 7
        return learned(who, question, index) and not (
            among_all and who is not ROOT and index % 10 < 7
        )

    limits = {"parent_tolerance": 0.2, "root_tolerance": 0.2, "holdout_tolerance": 0.5}
    chosen = policy(**limits, union_tolerance=0.1)
    report = report_of(second_update(policy=chosen), swallows)
    failing = [m for m in report.measures if m.outcome is Outcome.FAILS]
    assert [(m.name, m.asked, m.baseline, m.tolerance) for m in failing] == [
        ("emoji", ClassList.UNION, "root", 0.2)
    ]
    lenient = judge_again(report, replace(chosen, root_tolerance=0.9))
    assert lenient.verdict is not Verdict.FAILED


def test_a_list_to_which_the_candidate_adds_no_class_is_asked_once() -> None:
    again = taught(SECOND, 4, ())
    held = HeldOutUpdate(version=again, holdout=entries("again", [("boot",)] * 10))
    plan = third_update(
        candidate=held, suites=[suite("bags", EARLIER[0].holdout, SuiteKind.ZERO_SHOT)]
    )
    asked = [(m.kind.value, m.name) for m in report_of(plan, right).measures if m.asked == "union"]
    # the holdout of version 3 has all that is known; it counts among the pooled ones
    suites, others = [("zero_shot", "bags")] * 2, [("holdout", "version 2")] * 2
    assert asked == [*suites, *others, *[("holdouts", "2 updates")] * 2]


def cats_for(*classes: str) -> Callable[[ManifestEntry, int], str | None]:
    """The candidate takes images of learned classes for the class of a suite, where it may."""
    return lambda entry, n: "cat" if entry.class_name in classes else None


def test_a_version_that_answers_suites_classes_for_learned_ones_fails() -> None:
    """Nobody sees it over the learned classes, and the suite's images stay right."""
    plan = third_update(policy=policy(alpha=0.05))
    report = answering(plan, cats_for("bag", "shirt", "boot", "coat"))
    lost = {(m.name, m.asked, m.baseline, m.classes, m.lost) for m in report.measures if m.lost}
    assert lost == {
        (name, ClassList.WITH_SUITES, baseline, 8, lost)
        for name, lost in (("version 2", 20), ("2 updates", 40))
        for baseline in ("parent", "settled version")
    } | {("version 3", ClassList.WITH_SUITES, "parent and settled version", 8, 20)}
    assert report.verdict is Verdict.FAILED
    assert report.lost_classes == ()  # names may overlap
    assert any(
        reason.startswith(
            "Top-1 on the pooled holdouts of 2 updates, with all 8 classes to choose from, those "
            "of suites included, against the parent changed by −100.0 points"
        )
        for reason in report.reasons
    )
    assert report.summary.go_live == (
        "It may not go live: suites' classes take more of the earlier ones' answers than the "
        "limits allow."
    )
    taken = {(row.name, row.asked, row.class_name, row.answered, row.lost) for row in report.taken}
    assert taken == {
        ("2 updates", ClassList.WITH_SUITES, name, "cat", 10)
        for name in ("bag", "shirt", "boot", "coat")
    }
    assert not any(row.may_be_same for row in report.taken)


def test_a_suites_class_that_means_the_same_as_a_learned_one_may_take_its_answers() -> None:
    plan = third_update(policy=policy(alpha=0.1))
    report = answering(plan, cats_for("coat"))
    assert report.verdict is Verdict.FAILED
    (row,) = report.taken
    assert (row.class_name, row.answered, row.may_be_same, row.newer) == ("coat", "cat", True, True)
    declared = third_update(policy=policy(alpha=0.1, same_names=(("coat", "cat"),)))
    report = answering(declared, cats_for("coat"))
    assert (report.verdict, report.taken) == (Verdict.INCONCLUSIVE, ())  # by so few images


def test_holdouts_are_not_asked_with_suites_classes_where_there_are_none() -> None:
    plan = third_update(suites=[])
    asked = {m.asked for m in report_of(plan, right).measures}
    assert asked == {*ClassList} - {ClassList.WITH_SUITES}


def test_a_small_earlier_update_that_suites_classes_take_wholly_fails_the_version() -> None:
    """Of many small holdouts, in all of which together it is no large loss."""
    line, parent = [], ROOT
    for number in range(2, 32):
        names = (f"left {number}", f"right {number}")
        parent = taught(parent, number, names)
        held_out = entries(f"holdout {number}", [(name,) for name in names] * 20)
        line.append(HeldOutUpdate(version=parent, holdout=held_out, passed=True))
    own = HeldOutUpdate(
        version=taught(parent, 32, ("jar",)), holdout=entries("own", [("jar",)] * 60)
    )
    photos = [("cat",), ("dog",), ("sun",), ("key",)] * 100
    plan = second_update(
        candidate=own,
        parent=parent,
        earlier=line,
        suites=[suite("photos", entries("photos", photos), SuiteKind.ZERO_SHOT)],
        policy=policy(minimum_count=350),
    )

    def taken(*classes: str, first: int = 40) -> Callable[[Version, EvalQuery, int], bool]:
        def right(who: Version, question: EvalQuery, index: int) -> bool:
            shown = question.entries[index].class_name
            with_suites = isinstance(question, ClassQuery) and "cat" in question.classes
            if shown == "jar":
                return who is plan.candidate
            gone = shown in classes and with_suites and index < first
            return not (who is plan.candidate and gone)

        return right

    assert report_of(plan, taken()).verdict is Verdict.PASSED
    in_doubt = report_of(plan, taken("left 5", "right 5", first=8))
    assert in_doubt.verdict is Verdict.PASSED  # names may overlap
    report = report_of(plan, taken("left 5", "right 5"))
    failing = {(m.name, m.asked) for m in report.measures if m.outcome is Outcome.FAILS}
    assert failing == {("version 5", ClassList.WITH_SUITES)}
    assert report.verdict is Verdict.FAILED


def test_report_tells_which_classes_took_the_answers_most_first() -> None:
    def some_hats(entry: ManifestEntry, n: int) -> str | None:
        return {"cat": "hat" if n < 20 else "dog", "sun": "Bag"}.get(entry.class_name)

    rows = answering(third_update(), some_hats).taken
    assert [(r.class_name, r.answered, r.newer, r.images, r.lost) for r in rows] == [
        ("sun", "Bag", False, 10, 10),
        ("cat", "dog", False, 5, 10),
        ("cat", "hat", True, 5, 10),
    ]
    assert {(r.name, r.baseline, r.baseline_version) for r in rows} == {("emoji", "parent", 3)}


def test_a_learned_class_that_took_most_of_what_one_class_lost_may_mean_the_same() -> None:
    def confused(entry: ManifestEntry, n: int) -> str | None:
        return {"cat": "coat" if n else "hat", "sun": "coat" if n < 8 else None}.get(
            entry.class_name
        )

    rows = answering(third_update(), confused).taken
    assert {(r.class_name, r.answered): (r.images, r.lost, r.may_be_same) for r in rows} == {
        ("cat", "coat"): (9, 10, True),
        ("sun", "coat"): (2, 2, False),  # too few to say
        ("cat", "hat"): (1, 10, False),
    }
    everything = answering(third_update(), lambda entry, n: "hat").taken
    assert not any(row.may_be_same for row in everything)


def test_names_that_mean_the_same_count_for_each_other_in_every_query_of_both_versions() -> None:
    pairs = (("SUN", "hat"), ("cap", "hat"), ("boot", "shoe"))
    plan = third_update(policy=policy(same_names=pairs))
    say = {"sun": "hat", "cat": "hat"}
    report = answering(plan, lambda entry, n: say.get(entry.class_name))
    emoji, _ = (m for m in report.measures if (m.name, m.asked) == ("emoji", ClassList.UNION))
    assert emoji.lost == 10  # the cats
    assert {(row.class_name, row.answered) for row in report.taken} == {("cat", "hat")}
    assert plan.policy.meanings == dict.fromkeys(("sun", "cap", "hat"), "cap") | dict.fromkeys(
        ("boot", "shoe"), "boot"
    )
    sheet = EvaluationResults(
        plan=plan,
        answers={
            (SECOND.digest, plan.zero_shot[0].union.digest): ClassAnswers(predicted=(7,) * 40)
        },
    )
    assert sum(sheet.hits(SECOND, plan.zero_shot[0].union)) == 10  # hats for suns, of the parent


def of_sizes(*sizes: int) -> EvaluationPlan:
    """The examination of an update of the newest of earlier ones, of these numbers of images."""
    line, earlier = ROOT, list[HeldOutUpdate]()
    for number, images in enumerate(sizes, start=2):
        names = (f"a{number}", f"b{number}")
        line = taught(line, number, names)
        held_out = entries(f"of {number}", [(name,) for name in names] * (images // 2))
        earlier.append(HeldOutUpdate(version=line, holdout=held_out, passed=True))
    newest = taught(line, len(sizes) + 2, ("boot",))
    own = HeldOutUpdate(version=newest, holdout=entries("own", [("boot",)] * 10))
    limits = policy(minimum_count=350)
    emoji = suite("emoji", entries("emoji", [("cat",), ("sun",)] * 200), SuiteKind.ZERO_SHOT)
    return second_update(candidate=own, parent=line, earlier=earlier, suites=[emoji], policy=limits)


@pytest.mark.parametrize(("tiny", "of", "beside"), [(5, 6, 3), (4, 40, 5)])
def test_updates_that_are_all_tiny_are_not_forgotten_among_larger_ones(
    tiny: int, of: int, beside: int
) -> None:
    """Alone nothing is asked of each, and in the pool of all they are a few points."""
    plan = of_sizes(*[of] * tiny, *[340] * beside)

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        name = question.entries[index].class_name
        if name == "boot" or who != plan.candidate:
            return name != "boot" or who == plan.candidate
        return not (name[1:].isdecimal() and int(name[1:]) < 2 + tiny)

    report = report_of(plan, right)
    failing = {(m.kind, m.name, m.pooled) for m in report.measures if m.outcome is Outcome.FAILS}
    assert (MeasureKind.HOLDOUTS, f"{tiny} updates", True) in failing
    assert report.verdict is Verdict.FAILED


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
    assert gain.class_mean == (1 - 40) / 41
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any("In the mean of its classes it is −95.1 points" in one for one in report.reasons)
    assert judge_again(report, plan.policy).verdict is Verdict.INCONCLUSIVE
