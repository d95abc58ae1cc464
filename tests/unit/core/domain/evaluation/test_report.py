"""What a report says, on answers chosen image by image."""

import json
from dataclasses import replace

import pytest

from core.domain.datasets.split import Part
from core.domain.datasets.suite import SuiteKind
from core.domain.evaluation.build_report import build_report
from core.domain.evaluation.paired_hits import clusters
from core.domain.evaluation.plan import EvaluationPlan
from core.domain.evaluation.plan_queries import HeldOutUpdate, LiveLineage
from core.domain.evaluation.query import (
    Answers,
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    RetrievalAnswers,
    RetrievalQuery,
)
from core.domain.evaluation.report import Report
from core.domain.evaluation.results import AnswersByQuery
from core.domain.gate.measure import MeasureKind, Outcome
from core.domain.gate.policy import Verdict
from core.domain.registry.version import Version
from core.errors import AnswersNotFinite, ReportUnreadable
from tests.support.evaluations import (
    FIRST,
    ROOT,
    SECOND,
    answered,
    entries,
    policy,
    report_of,
    second_update,
    suite,
    taught,
)


def everything(who: Version, question: EvalQuery, index: int) -> bool:
    return True


def learned(who: Version, question: EvalQuery, index: int) -> bool:
    """Each version is right about what the line has learned by then, and on every suite."""
    if isinstance(question, RetrievalQuery):
        return True
    taught_classes = {"bag": 2, "shirt": 2, "boot": 3, "coat": 3, "hat": 4}
    return who.number >= taught_classes.get(question.entries[index].class_name, 1)


def forgets_cats(who: Version, question: EvalQuery, index: int) -> bool:
    cat = isinstance(question, ClassQuery) and question.entries[index].class_name == "cat"
    return learned(who, question, index) and not (who is SECOND and cat)


def test_measures_cover_suites_holdouts_and_gain() -> None:
    report = report_of(second_update(), learned)
    found = [(r.measure.kind.value, r.measure.name, r.measure.baseline) for r in report.rulings]
    assert found == [
        ("zero_shot", "emoji", "parent"),
        ("zero_shot", "emoji", "root"),
        ("image_to_text", "shapes", "parent"),
        ("text_to_image", "shapes", "parent"),
        ("image_to_text", "shapes", "root"),
        ("text_to_image", "shapes", "root"),
        ("holdout", "version 2", "version 2"),
        ("gain", "version 3", "parent"),
    ]
    assert report.rulings[-1].measure.difference == 1.0


def test_tolerances_come_from_the_policy() -> None:
    chosen = policy(parent_tolerance=0.01, root_tolerance=0.02, holdout_tolerance=0.04)
    report = report_of(second_update(policy=chosen), learned)
    tolerances = {(r.measure.kind, r.measure.baseline): r.measure.tolerance for r in report.rulings}
    assert tolerances[MeasureKind.ZERO_SHOT, "parent"] == 0.01
    assert tolerances[MeasureKind.ZERO_SHOT, "root"] == 0.02
    assert tolerances[MeasureKind.HOLDOUT, "version 2"] == 0.04


def test_parent_that_is_the_root_is_one_baseline_with_the_lesser_tolerance() -> None:
    plan = second_update(
        candidate=HeldOutUpdate(
            version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 5)
        ),
        parent=ROOT,
        earlier=[],
    )
    measure = report_of(plan, learned).rulings[0].measure
    assert (measure.baseline, measure.tolerance) == ("parent and root", 0.03)


def test_forgotten_class_fails_the_gate_and_leads_the_list() -> None:
    report = report_of(second_update(policy=policy(alpha=0.05)), forgets_cats)
    assert report.verdict is Verdict.FAILED
    assert report.rulings[0].outcome is Outcome.FAILS
    table = next(t for t in report.changes if t.kind is MeasureKind.ZERO_SHOT)
    worst = table.classes[0]
    assert (worst.class_name, worst.images, worst.lost, worst.right_before) == ("cat", 10, 10, 10)
    assert worst.difference == -1.0
    assert worst.accuracy_upper > 0


def test_class_changes_are_sorted_worst_first() -> None:
    for table in report_of(second_update(), forgets_cats).changes:
        differences = [change.difference for change in table.classes]
        assert differences == sorted(differences)


def test_scores_of_candidate_parent_and_root() -> None:
    report = report_of(second_update(), forgets_cats)
    candidate, parent, root = report.scores
    assert (candidate.ut_micro, candidate.ut_macro) == (1.0, 1.0)
    assert (parent.ut_micro, root.ut_micro) == (0.5, 0.0)
    # emoji has 10 each of cat, dog, Bag and sun; only the candidate forgot the cats
    assert (candidate.zero_shot, parent.zero_shot, root.zero_shot) == (0.75, 1.0, 1.0)
    assert candidate.average == 0.875


def test_retention_and_change_are_against_the_root() -> None:
    report = report_of(second_update(), forgets_cats)
    assert report.retention == pytest.approx(0.75)
    assert report.zero_shot_change == pytest.approx(-0.25)


def test_matrix_has_a_row_for_the_root_and_each_update() -> None:
    report = report_of(second_update(), learned)
    assert [task.version for task in report.tasks] == [2, 3]
    assert {row.version: row.macro for row in report.matrix} == {
        1: (0.0, 0.0),
        2: (1.0, 0.0),
        3: (1.0, 1.0),
    }
    assert report.transfer.backward == 0.0
    assert report.transfer.forward == 0.0
    assert report.transfer.learned == 1.0


def test_backward_transfer_sees_what_was_lost_since_learned() -> None:
    def forgets_bags(who: Version, question: EvalQuery, index: int) -> bool:
        bag = isinstance(question, ClassQuery) and question.entries[index].class_name == "bag"
        return learned(who, question, index) and not (who is SECOND and bag)

    transfer = report_of(second_update(), forgets_bags).transfer
    assert transfer.backward == pytest.approx(-0.5)
    assert transfer.backward_reference == pytest.approx(-0.25)
    assert transfer.forgetting == pytest.approx(0.5)


def test_new_competitors_are_not_called_forgetting() -> None:
    def confused_in_union(who: Version, question: EvalQuery, index: int) -> bool:
        union = isinstance(question, ClassQuery) and len(question.classes) == 4
        old = question.entries[index].texts[0] in {"bag", "shirt"}
        return learned(who, question, index) and not (who is SECOND and union and old)

    report = report_of(second_update(), confused_in_union)
    assert report.transfer.backward == 0.0
    holdout = [r for r in report.lists if r.kind is MeasureKind.HOLDOUT]
    assert [(r.role, r.own, r.union) for r in holdout] == [
        ("candidate", 1.0, 0.0),
        ("parent", 1.0, 1.0),
        ("root", 0.0, 0.0),
    ]


def test_a_report_of_an_earlier_release_opens() -> None:
    report = report_of(second_update(), learned)
    written = report.to_json()
    written["transfer"]["backward_union"] = -0.25
    assert Report.from_json(written) == report


def three_updates() -> list[HeldOutUpdate]:
    third = taught(SECOND, 4, ("hat",))
    return [
        HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10)),
        HeldOutUpdate(version=SECOND, holdout=entries("second", [("boot",), ("coat",)] * 10)),
        HeldOutUpdate(version=third, holdout=entries("third", [("hat",)] * 10)),
    ]


def test_older_rows_of_the_matrix_come_from_the_parents_report() -> None:
    updates = three_updates()
    plan = second_update(candidate=updates[2], parent=SECOND, earlier=updates[:2])
    previous = report_of(second_update(), learned)
    with_report = {row.version: row.macro for row in report_of(plan, learned, previous).matrix}
    assert with_report == {
        1: (0.0, 0.0, 0.0),
        2: (1.0, 0.0, None),
        3: (1.0, 1.0, 0.0),
        4: (1.0, 1.0, 1.0),
    }
    without = report_of(plan, learned)
    assert {row.version: row.macro for row in without.matrix}[2] == (1.0, None, None)
    assert without.transfer.forward is None
    assert without.transfer.backward == 0.0
    assert without.transfer.forgetting == 0.0


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


def test_captions_of_one_image_are_one_cluster() -> None:
    report = report_of(second_update(), learned)
    by_kind = {r.measure.kind: r.measure for r in report.rulings}
    captions = by_kind[MeasureKind.TEXT_TO_IMAGE]
    assert (captions.images, captions.count) == (15, 30)
    assert captions.design_effect > 2
    assert by_kind[MeasureKind.IMAGE_TO_TEXT].design_effect == 1.0


def test_each_image_has_the_flips_of_its_own_captions() -> None:
    now = [True, True, False, False, True]
    before = [False, True, True, True, False]
    found = [(f.count, f.gained, f.lost) for f in clusters(now, before, [2, 1, 2])]
    assert found == [(2, 1, 0), (1, 0, 1), (2, 1, 1)]


def test_captions_of_an_image_need_an_answer_of_each_version() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(clusters([True, False], [True], [2]))


def test_report_survives_json_and_is_the_same_bytes_each_time() -> None:
    report = report_of(second_update(), forgets_cats)
    again = report_of(second_update(), forgets_cats)
    assert report.to_bytes() == again.to_bytes()
    read = Report.from_json(json.loads(report.to_bytes()))
    assert read == replace(report, policy=read.policy, recipe=read.recipe)
    assert read.to_bytes() == report.to_bytes()


def test_report_says_how_often_the_test_part_was_used() -> None:
    report = report_of(second_update(), everything)
    assert (report.judged_before, report.near_duplicates) == (2, 1)
    assert report.images == {"emoji": 40, "shapes": 15, "version 2": 20, "version 3": 20}


def test_model_without_suites_is_marked_and_never_passes() -> None:
    plan = second_update(suites=[], earlier=[], parent=ROOT)
    report = report_of(plan, learned)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.scores[0].zero_shot is None
    assert report.retention is None
    assert report.transfer.backward is None


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
        build_report(plan, answers, previous=None, verdicts={}, judged_before=0, near_duplicates=0)


def test_a_report_of_before_environments_were_recorded_still_opens() -> None:
    value = report_of(second_update(), learned).to_json()
    del value["environments"], value["exact"]
    report = Report.from_json(json.loads(json.dumps(value)))
    assert (report.environments, report.exact) == ((), None)


def broken(plan: EvaluationPlan, version: Version, kind: type[EvalQuery]) -> AnswersByQuery:
    """Right answers to all, but for those of one version to one kind of question: no numbers."""
    answers = answered(plan, everything)
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


@pytest.mark.parametrize(("kind", "broken_ones"), [(ClassQuery, 5), (RetrievalQuery, 1)])
def test_candidate_whose_answers_are_no_numbers_has_failed_and_says_so(
    kind: type[EvalQuery], broken_ones: int
) -> None:
    plan = second_update(policy=policy(parent_tolerance=1.0, root_tolerance=1.0))
    answers = broken(plan, SECOND, kind)
    report = build_report(
        plan, answers, previous=None, verdicts={}, judged_before=0, near_duplicates=0
    )
    assert report.verdict is Verdict.FAILED
    assert "contain NaN or infinity" in report.reasons[0]
    assert f"in {broken_ones} of " in report.reasons[0]
    read = Report.from_json(json.loads(report.to_bytes()))
    assert read.to_bytes() == report.to_bytes()


@pytest.mark.parametrize("version", [FIRST, ROOT])
def test_baseline_whose_answers_are_no_numbers_is_an_error(version: Version) -> None:
    plan = second_update()
    answers = broken(plan, version, ClassQuery)
    with pytest.raises(AnswersNotFinite) as refusal:
        build_report(plan, answers, previous=None, verdicts={}, judged_before=0, near_duplicates=0)
    assert refusal.value.facts == {"version": version.number}


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


def test_wanted_gain_is_a_tolerance_with_its_sign_turned() -> None:
    wanting = second_update(policy=policy(wanted_gain=0.3, alpha=0.2, root_tolerance=1.0))
    gain = report_of(wanting, learned).rulings[-1].measure
    assert (gain.kind, gain.tolerance) == (MeasureKind.GAIN, -0.3)

    def little(who: Version, question: EvalQuery, index: int) -> bool:
        own = isinstance(question, ClassQuery) and question.entries[0].class_name == "boot"
        return index < 2 if own and who is SECOND else learned(who, question, index)

    last = report_of(wanting, little).rulings[-1]
    assert (last.measure.gained, last.measure.lost, last.outcome) == (2, 0, Outcome.FAILS)


def beside(**changes: object) -> EvaluationPlan:
    """The examination of version 3 while version 9 is live, which has learned hat and sock."""
    live = taught(ROOT, 9, ("hat", "sock"))
    held_out = entries("ninth", [("hat",), ("sock",)] * 10)
    line = LiveLineage(version=live, updates=(HeldOutUpdate(version=live, holdout=held_out),))
    return second_update(live=line, **changes)


def test_what_would_be_replaced_is_a_baseline_of_the_suites_and_of_what_it_has_learned() -> None:
    chosen = policy(parent_tolerance=0.01, root_tolerance=0.02, holdout_tolerance=0.04)
    report = report_of(beside(policy=chosen), learned)
    found = {
        (r.measure.kind.value, r.measure.name): (r.measure.baseline_version, r.measure.tolerance)
        for r in report.rulings
        if r.measure.baseline == "live version"
    }
    assert found == {
        ("zero_shot", "emoji"): (9, 0.01),
        ("image_to_text", "shapes"): (9, 0.01),
        ("text_to_image", "shapes"): (9, 0.01),
        ("holdout", "version 9"): (9, 0.04),
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


def test_image_in_two_holdouts_counts_once_among_them_as_what_it_was_last_taught_to_be() -> None:
    updates = three_updates()
    again = entries("first", [("boot",), ("coat",)] * 10)
    updates[1] = HeldOutUpdate(version=SECOND, holdout=again)
    plan = second_update(candidate=updates[2], parent=SECOND, earlier=updates[:2])

    def forgot_the_first(who: Version, question: EvalQuery, index: int) -> bool:
        bags = isinstance(question, ClassQuery) and question.entries[0].class_name == "bag"
        return learned(who, question, index) and not (who.number == 4 and bags)

    report = report_of(plan, forgot_the_first)
    (together,) = [r.measure for r in report.rulings if r.measure.kind is MeasureKind.HOLDOUTS]
    assert (together.images, together.count, together.lost) == (20, 20, 0)
    (first, _) = [r.measure for r in report.rulings if r.measure.kind is MeasureKind.HOLDOUT]
    assert first.lost == 20
