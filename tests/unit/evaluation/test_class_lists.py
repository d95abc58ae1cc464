"""All classes to choose from: those learned since, those of suites, and names for the same."""

from collections.abc import Callable
from dataclasses import replace

from core.datasets.manifests import ManifestEntry
from core.datasets.rules import SuiteKind
from core.evaluation.answers import ClassAnswers
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge_again import judge_again
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.results import EvaluationResults
from core.gate.kinds import ClassList, Outcome
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    ROOT,
    SECOND,
    answering,
    entries,
    learned,
    policy,
    report_of,
    right,
    second_update,
    suite,
    taught,
    third_update,
)


def test_a_version_that_answers_its_newest_class_for_everything_fails() -> None:
    report = answering(third_update(policy=policy(alpha=0.05)), lambda entry, n: "hat")
    own = [m for m in report.measures if m.asked is ClassList.OWN]
    assert {m.lost for m in own} == {0}
    swallowed = {(m.name, m.classes, m.lost) for m in report.measures if m.outcome is Outcome.FAILS}
    assert swallowed == {
        ("emoji", 8, 40),
        ("emoji", 5, 10),
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
    assert asked == {*ClassList} - {ClassList.WITH_SUITES, ClassList.LEARNED}


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
