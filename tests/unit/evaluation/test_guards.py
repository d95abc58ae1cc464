"""Earlier classes that no test image guards, and what a report says of them."""

from dataclasses import replace

import pytest

from core.datasets.manifests import Part
from core.datasets.rules import SuiteKind
from core.evaluation.guards import unguarded_in
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.judge import verdicts_beside
from core.evaluation.plan import EvaluationPlan, LiveLineage
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Unguarded
from core.gate.guards import Guarding, is_guard
from core.gate.kinds import ClassList, MeasureKind
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    answered,
    entries,
    learned,
    live_line,
    policy,
    report_of,
    second_update,
    suite,
    taught,
    third_update,
)
from tests.support.factories import an_origin

# Version 2 was taught bag and shirt elsewhere, so its holdout is not here.
IMPORTED = HeldOutUpdate(version=replace(FIRST, origin=an_origin()), holdout=())

PICTURES = suite("pictures", entries("pictures", [("cat",), ("sun",)] * 10), SuiteKind.ZERO_SHOT)


def after_import(*suites: tuple[str, ...]) -> EvaluationPlan:
    """The examination of version 3, judged by suites of these classes too."""
    more = [
        suite(f"s{n}", entries(f"s{n}", [(c,) for c in names]), SuiteKind.ZERO_SHOT)
        for n, names in enumerate(suites)
    ]
    return second_update(earlier=[IMPORTED], suites=[PICTURES, *more])


def test_a_report_says_first_which_imported_classes_nothing_guards() -> None:
    report = report_of(after_import(), learned)
    assert report.unguarded == (Unguarded(version=2, imported=True, classes=("bag", "shirt")),)
    first = next(sentence for sentence in vars(report.summary).values() if sentence)
    assert first == (
        "Nothing guards 2 classes of version 2, which was imported: bag, shirt. No suite of the "
        "model and no earlier holdout has test images of these, so a version that forgets them may "
        "pass: give the model a suite that has."
    )


def test_a_suite_guards_the_classes_of_which_it_has_test_images() -> None:
    (left,) = unguarded_in(after_import(("Bag", "cup")))
    assert left.classes == ("shirt",)
    report = report_of(after_import(("Bag", "cup"), ("shirt",)), learned)
    assert (report.unguarded, report.summary.unguarded) == ((), "")


def test_a_class_is_guarded_by_the_names_that_the_policy_calls_the_same() -> None:
    same = policy(same_names=(("Handbag", "bag"),))
    (left,) = unguarded_in(replace(after_import(("handbag", "cup")), policy=same))
    assert left.classes == ("shirt",)


def test_a_suite_whose_classes_all_mean_the_same_guards_nothing() -> None:
    bags = suite("bags", entries("bags", [("bag",), ("handbag",)] * 200), SuiteKind.ZERO_SHOT)
    for same, choices in ((), 2), ((("Handbag", "bag"),), 1):
        limits = policy(same_names=same, minimum_count=300)
        report = report_of(second_update(earlier=[], suites=[bags], policy=limits), learned)
        own = [one for one in report.measures if one.name == "bags" and one.asked is ClassList.OWN]
        assert {one.classes for one in own} == {choices}
        assert any(is_guard(one, 300) for one in own) is (choices > 1)
        told = "bags guards nothing: with one class to choose from, every version is right."
        assert (told in report.reasons) is (choices == 1)
        assert (report.verdict == "passed") is (choices > 1)


@pytest.mark.parametrize(("others", "guards"), [(0, False), (6, False), (12, True), (200, True)])
def test_a_suite_guards_if_one_answer_to_everything_would_lose_more_than_is_allowed(
    others: int, *, guards: bool
) -> None:
    """A version with broken features gives one; of 3 points, 9 of 300 images may be lost."""
    fine = [("fine",)] * (300 - others)
    images = entries("parts", [*fine, *[("cracked",)] * others])
    for kind in SuiteKind.ZERO_SHOT, SuiteKind.RETRIEVAL:
        parts = suite("parts", images, kind)
        plan = second_update(earlier=[], suites=[parts], policy=policy(minimum_count=300))
        report = report_of(plan, learned)
        own = [one for one in report.measures if one.name == "parts"]
        assert any(is_guard(one, 300) for one in own) is guards
        assert (report.verdict == "passed") is guards
        assert any(one.startswith("parts guards nothing") for one in report.reasons) is not guards


def test_a_suite_to_which_the_baseline_gave_one_answer_guards_nothing() -> None:
    """As where class names are alike in what the model's context leaves of them."""
    screws = suite("screws", entries("screws", [("m4",), ("m6",)] * 200), SuiteKind.ZERO_SHOT)
    plan = second_update(earlier=[], suites=[screws], policy=policy(minimum_count=300))

    def always_m4(who: Version, question: EvalQuery, index: int) -> bool:
        is_m6 = isinstance(question, ClassQuery) and question.entries[index].class_name == "m6"
        return learned(who, question, index) and not is_m6

    for right, guards in (always_m4, False), (learned, True):
        report = report_of(plan, right)
        own = [one for one in report.measures if one.name == "screws"]
        assert {is_guard(one, 300) for one in own if one.asked is ClassList.OWN} == {guards}
        told = "one and the same answer to all would be right in 200"
        assert any(told in reason for reason in report.reasons) != guards
        assert (report.verdict == "passed") is guards


def test_an_image_of_several_suites_counts_once_among_those_that_suites_need() -> None:
    """Also a copy of it; but not for a suite that could not show a loss."""
    easy = replace(EARLIER[0], holdout=entries("easy", [("bag",), ("shirt",)] * 100))
    photos = entries("photos", [("cat",), ("sun",)] * 6)
    copies = tuple(
        replace(one, pixels=f"copy of {one.pixels}", near_duplicate_of=one.pixels) for one in photos
    )
    captions = tuple(replace(one, texts=(f"photo {n}",)) for n, one in enumerate(photos))
    cats = suite("cats", [one for one in photos if one.texts == ("cat",)], SuiteKind.ZERO_SHOT)
    same = [
        suite("photos", photos, SuiteKind.ZERO_SHOT),
        suite("copies", copies, SuiteKind.ZERO_SHOT),
        suite("captions", captions, SuiteKind.RETRIEVAL),
    ]
    others = suite("others", entries("others", [("map",), ("key",)] * 4), SuiteKind.ZERO_SHOT)
    for suites, images in ([cats, *same], 12), ([*same, others], 20):
        plan = third_update(
            earlier=[easy, EARLIER[1]], suites=suites, policy=policy(minimum_count=200)
        )
        report = report_of(plan, learned)
        assert Guarding.of(report.measures, 200).suite_images == images
        assert report.verdict == ("passed" if images >= 20 else "inconclusive")


@pytest.mark.parametrize(("live", "passes"), [(None, False), (EARLIER[0], True)])
def test_beside_the_live_version_only_what_that_one_has_learned_guards(
    live: HeldOutUpdate | None, passes: bool
) -> None:
    """Else whoever trains a version on many easy images brings the guard for its child.

    The suite is too small to guard. Version 2 has 200 images, about which the root is right, too.
    """
    easy = replace(EARLIER[0], holdout=entries("easy", [("bag",), ("shirt",)] * 100))
    between = taught(FIRST, 3, ("jar", "cup"))
    own = HeldOutUpdate(
        version=taught(between, 4, ("boot", "coat")),
        holdout=entries("own", [("boot",), ("coat",)] * 20),
    )
    replaced = live.version if live else ROOT
    plan = second_update(
        candidate=own,
        parent=between,
        earlier=[easy, HeldOutUpdate(version=between, holdout=())],
        suites=[PICTURES],
        policy=policy(minimum_count=100),
        live=LiveLineage(
            version=replaced, lineage=frozenset(range(1, replaced.number + 1)), updates=()
        ),
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        is_own = question.entries[index] in own.holdout
        return who == plan.candidate or not is_own

    answers, report = answered(plan, right), report_of(plan, right)
    found = {one.beside: one for one in verdicts_beside(plan, answers, report, spending={})}
    assert found[between.number].verdict == "passed"
    assert found[replaced.number].verdict == ("passed" if passes else "inconclusive")
    told = "The holdout of version 2 guards nothing: it does not compare with the version that"
    assert any(told in reason for reason in report.reasons) is not passes
    guards = {(one.name, one.baseline) for one in report.measures if is_guard(one, 100)}
    assert guards == ({("version 2", "live version and settled version")} if passes else set())


def test_holdouts_together_guard_by_those_images_that_leave_a_choice() -> None:
    one_class = replace(FIRST, update_classes=("bag",), classes=("bag",))
    mugs = HeldOutUpdate(version=one_class, holdout=entries("mugs", [("bag",)] * 30))
    three = [mugs, EARLIER[1], replace(EARLIER[1], holdout=entries("few", [("coat",)] * 5))]
    for earlier, images in ((three, 25), (three[:2], None)):
        plan = third_update(earlier=earlier, suites=[], policy=policy(minimum_count=40))
        report = report_of(plan, learned)
        pools = [one for one in report.measures if one.kind is MeasureKind.HOLDOUTS]
        own = {one.count for one in pools if one.asked is ClassList.OWN}
        assert own == ({images} if images else set())
        assert {one.count for one in pools if one.asked is ClassList.UNION} != own
        assert not any(is_guard(one, 40) for one in report.measures)
        assert report.verdict != "passed"


def test_images_for_selection_and_captions_guard_nothing() -> None:
    chosen = suite(
        "chosen", entries("chosen", [("bag",), ("shirt",)], Part.VALIDATION), SuiteKind.ZERO_SHOT
    )
    told = suite("told", entries("told", [("bag",), ("shirt",)]), SuiteKind.RETRIEVAL)
    (left,) = unguarded_in(second_update(earlier=[IMPORTED], suites=[PICTURES, chosen, told]))
    assert left.classes == ("bag", "shirt")


def test_an_earlier_holdout_guards_a_class_that_was_taught_again_and_the_own_does_not() -> None:
    again = replace(EARLIER[1], holdout=entries("again", [("shirt",), ("boot",), ("coat",)]))
    (left,) = unguarded_in(third_update(earlier=[IMPORTED, again], suites=[PICTURES]))
    assert left.classes == ("bag",)
    plan = second_update(earlier=[IMPORTED], candidate=again, suites=[PICTURES])
    assert [one.classes for one in unguarded_in(plan)] == [("bag", "shirt")]


def test_classes_of_the_version_that_would_be_replaced_count() -> None:
    ninth, tenth = live_line().updates
    live = replace(live_line(), updates=(replace(ninth, holdout=()), tenth))
    (left,) = unguarded_in(second_update(live=live))
    assert left == Unguarded(version=9, imported=False, classes=("hat", "sock"))


@pytest.mark.parametrize("plan", [second_update(), third_update(live=live_line())])
def test_nothing_is_said_where_every_earlier_class_has_images(plan: EvaluationPlan) -> None:
    assert unguarded_in(plan) == ()
