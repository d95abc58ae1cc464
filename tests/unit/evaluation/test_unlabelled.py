"""Labels where versions disagree: what they decide, which of them count, and the order."""

from typing import Any

import numpy as np
import pytest

from api.registry.report_pages import labels_wanted, render_report
from benchmarks.gate_unlabelled import ALPHA, FIRST_LOOK, chances
from core.datasets.manifests import Part, Split
from core.datasets.rules import SuiteKind
from core.evaluation.evidence import differences
from core.evaluation.judge import build_report
from core.evaluation.judge_again import judge_again
from core.evaluation.report import Report
from core.evaluation.unlabelled import in_order
from core.gate.guards import Guarding, is_guard
from core.gate.intervals import Flips, paired_interval, quantile, score
from core.gate.kinds import Outcome
from core.gate.levels import Spending, label_counts, label_share
from core.gate.measures import Measure
from core.gate.rules import Verdict
from core.values import SuiteId
from tests.support.evaluation.evaluations import entries, live_line, policy, second_update, suite
from tests.support.evaluation.evidence import evidence_of, opened
from tests.support.evaluation.unlabelled import (
    ORDER,
    PHOTOS,
    TRUTH,
    Wrong,
    answers_to,
    labels_of,
    photos,
)

EVERY_FIFTH = range(0, 200, 5)
NEW = 3  # the candidate's number; its parent is 2 and the root 1


def report_on(
    labelled: Any, wrong: Wrong, *, limits: Any = None, look: int = 1, **more: Any
) -> Report:
    """The report on a suite of 200 photos, of which some places are labelled."""
    labels = labelled if isinstance(labelled, dict) else labels_of(labelled)
    plan = second_update(suites=[photos(labels)], policy=limits or policy(), **more)
    [exam] = plan.unlabelled
    return build_report(
        plan,
        answers_to(plan, wrong),
        previous=None,
        spending={exam.own.digest: Spending(look=look)},
        judged_before=0,
        near_duplicates=0,
    )


def against_parent(report: Report) -> Measure:
    return next(m for m in report.measures if m.name == "photos" and m.baseline == "parent")


def test_with_all_disagreements_labelled_a_suite_tells_what_it_would_with_all_labels() -> None:
    images = tuple(
        entry.__class__(**vars(entry) | {"texts": (TRUTH[entry.pixels],)}) for entry in PHOTOS
    )
    limits = policy(views=0, minimum_count=200)
    labelled = second_update(suites=[suite("photos", images, SuiteKind.ZERO_SHOT)], policy=limits)
    exam = labelled.zero_shot[0]
    said = answers_to(labelled, {})
    wrong = second_update(suites=[photos()])
    told = answers_to(wrong, {NEW: EVERY_FIFTH})
    [same] = wrong.unlabelled
    for own, other in ((exam.own, same.own), (exam.union, same.union)):
        for version, _ in labelled.questions:
            said[version.digest, own.digest] = told[version.digest, other.digest]
    whole = build_report(
        labelled, said, previous=None, spending={}, judged_before=0, near_duplicates=0
    )
    found = report_on(range(200), {NEW: EVERY_FIFTH}, limits=limits)
    every, some = against_parent(whole), against_parent(found)
    for name in ("difference", "lower", "interval_lower", "upper", "gained", "lost", "distinct"):
        assert getattr(some, name) == getattr(every, name), name
    assert some.difference == -0.2


def test_labels_of_a_part_speak_for_that_part_of_the_images() -> None:
    found = against_parent(report_on(range(100), {NEW: EVERY_FIFTH}))
    assert found.disagreements is not None
    assert (found.disagreements.total, found.disagreements.labelled) == (40, 20)
    assert (found.images, found.distinct, found.difference) == (200, 100, -0.2)
    interval = paired_interval(Flips(count=100, gained=0, lost=20), 0.005)
    assert (found.interval_lower, found.upper) == (interval.lower, interval.upper)


def test_labels_count_up_to_the_first_disagreement_without_one() -> None:
    """Whoever labels does not choose which of them are counted."""
    holes = [place for place in range(200) if place != 50]
    found = against_parent(report_on(holes, {NEW: EVERY_FIFTH}))
    assert found.disagreements is not None
    assert (found.disagreements.total, found.disagreements.labelled) == (40, 10)
    assert found == against_parent(report_on(range(50), {NEW: EVERY_FIFTH}))
    agreed = [place for place in range(200) if place != 51]  # both are right about it
    assert against_parent(report_on(agreed, {NEW: EVERY_FIFTH})) == against_parent(
        report_on(range(200), {NEW: EVERY_FIFTH})
    )


@pytest.mark.parametrize("labelled", [0, 5])
def test_with_too_few_labels_nothing_is_compared_and_nothing_passes(labelled: int) -> None:
    limits = policy(minimum_count=100)
    found = report_on(range(labelled), {NEW: EVERY_FIFTH}, limits=limits)
    assert not [m for m in found.measures if m.name == "photos"]
    assert found.verdict is Verdict.INCONCLUSIVE
    [doubt] = found.to_label
    assert "disagree about 40 images" in doubt
    assert "The first 20 of these need labels" in doubt
    assert "perennial suite to-label photos" in doubt
    assert "have to be labelled" in found.summary.go_live
    assert "prompt" not in found.summary.go_live
    assert judge_again(found, limits).verdict is Verdict.INCONCLUSIVE


def test_versions_that_always_agree_need_no_label_and_guard_nothing() -> None:
    found = report_on((), {}, limits=policy(minimum_count=100, parent_tolerance=0.1))
    measure = against_parent(found)
    assert (measure.distinct, measure.difference, measure.holds) == (200, 0.0, True)
    assert not is_guard(measure, 100)
    assert Guarding.of(found.measures, 100).suite_images == 0
    assert found.verdict is Verdict.INCONCLUSIVE
    assert any(
        reason.startswith("photos guards nothing, as no answer differs") for reason in found.reasons
    )
    assert not any("fewer than" in reason and "photos" in reason for reason in found.reasons)
    assert is_guard(against_parent(report_on(range(200), {NEW: [0]})), 100)


def test_an_unlabelled_suite_of_nearly_one_answer_guards_nothing() -> None:
    """The parent says cat to half of the images: all the others may be lost, or all but one."""
    for limit, guards in ((0.5, False), (0.495, True)):
        limits = policy(minimum_count=100, parent_tolerance=limit, root_tolerance=0.5)
        found = report_on(range(200), {NEW: [0]}, limits=limits)
        assert is_guard(against_parent(found), 100) is guards
        told = "gave one and the same answer to 100 of 200 images, and no more than may be lost"
        assert any(told in reason for reason in found.reasons) is not guards


def test_images_that_show_none_of_the_classes_do_not_count() -> None:
    """Of 40 disagreements 30 show none: the other 10 are a loss on a quarter of the images."""
    shown = labels_of(range(0, 200, 20))
    nothing = {one: "none of these" for one in ORDER if one not in shown}
    found = report_on(shown | nothing, {NEW: EVERY_FIFTH}, limits=policy(minimum_count=100))
    measure = against_parent(found)
    assert (measure.gained, measure.lost, measure.difference) == (0, 10, -0.2)
    assert (measure.images, measure.distinct) == (200, 50)
    assert not is_guard(measure, 100)
    assert measure.disagreements is not None
    assert measure.disagreements.none == 30
    assert any("count as 50: a suite needs images of its classes" in one for one in found.reasons)


def test_a_suite_of_which_no_disagreement_shows_a_class_compares_nothing() -> None:
    found = report_on(dict.fromkeys(ORDER, "none of these"), {NEW: EVERY_FIFTH})
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "none shows one of its classes" in found.to_label[0]


def test_less_than_all_labels_speak_for_enough_images_that_show_a_class() -> None:
    """Else few of them would be judged mildly, and whoever labels could stop there."""
    nothing = dict.fromkeys(ORDER[:100], "none of these") | labels_of(range(100, 120))
    found = report_on(nothing, {NEW: EVERY_FIFTH}, limits=policy(minimum_count=100))
    assert "The first 40 of these need labels, and 24 in a row" in found.to_label[0]


def test_labels_count_at_a_few_numbers_that_share_the_level() -> None:
    """Whoever labels could otherwise stop at any label after which the version looks well."""
    counted = {
        n: against_parent(report_on(range(5 * n), {NEW: EVERY_FIFTH})).disagreements
        for n in range(5, 41)
    }
    numbers = {one.labelled for one in counted.values() if one}
    assert numbers == {5, 10, 20, 40}
    assert all(one and one.labelled <= n for n, one in counted.items())
    for disagreed in range(1, 300):
        counts = label_counts(disagreed, 7)
        assert counts[-1] == disagreed
        assert sum(label_share(counts, one) for one in counts) == 1


@pytest.mark.parametrize("loss", [0.0305, 0.04])
def test_choosing_when_to_stop_passes_no_more_losses_than_the_level(loss: float) -> None:
    """Of 4,000 images 480 disagree; whoever labels stops at the best number that counts."""
    rng = np.random.default_rng(1)
    counts = label_counts(480, 42)
    bounds = {one: quantile(FIRST_LOOK * label_share(counts, one)) for one in counts}
    draws, passed = 4000, 0
    for _ in range(draws):
        lost = np.cumsum(rng.random(480) < (1 + loss / 0.12) / 2)
        passed += any(
            score(Flips(count=4000 * n / 480, gained=n - lost[n - 1], lost=lost[n - 1]), -0.03) >= z
            for n, z in bounds.items()
        )
    assert passed / draws <= 1.5 * FIRST_LOOK


def test_names_that_mean_the_same_agree() -> None:
    same = policy(same_names=(("cat", "dog"),))
    found = against_parent(report_on((), {NEW: EVERY_FIFTH}, limits=same))
    assert found.disagreements is not None
    assert found.disagreements.total == 0


def test_a_version_that_lost_fails_and_the_report_says_by_how_many_labels() -> None:
    found = report_on(range(200), {NEW: EVERY_FIFTH})
    assert found.verdict is Verdict.FAILED
    assert found.summary.lost == (
        "It lost most on photos: of 40 labelled disagreements with version 2 it is right about 0, "
        "and that one was about 40."
    )
    assert found.unlabelled == ("photos",)


@pytest.mark.parametrize(
    ("tolerance", "told"),
    [
        (0.2, ": labels of the first 80 disagreements would decide it with a chance of 80 %."),
        (
            0.15,
            ": labels of all 80 disagreements may not. A suite of about 310 test images",
        ),
        (0.03, ": the difference lies at the limit."),
    ],
)
def test_an_open_measure_says_how_many_more_labels_decide(tolerance: float, told: str) -> None:
    wrong = {NEW: EVERY_FIFTH, 2: range(1, 200, 5)}
    found = report_on(range(60), wrong, limits=policy(parent_tolerance=tolerance))
    [reason] = [one for one in found.reasons if "on photos against the parent" in one]
    assert told in reason


def test_pages_ask_for_labels_only_where_disagreements_are_left_without() -> None:
    wrong = {NEW: EVERY_FIFTH, 2: range(1, 200, 5)}
    shown = {}
    for tolerance, labelled in ((0.2, 0), (0.2, 60), (0.15, 60), (0.03, 200)):
        found = report_on(range(labelled), wrong, limits=policy(parent_tolerance=tolerance))
        shown[tolerance, labelled] = labels_wanted(found), render_report(found.to_json())
    wanted = {key: suites for key, (suites, _) in shown.items()}
    assert wanted == {key: {"photos"} for key in shown} | {(0.03, 200): set()}
    assert "60 more labels<" in shown[0.2, 60][1]
    assert "a larger suite<" in shown[0.15, 60][1]


def test_a_few_images_about_which_versions_always_agree_are_too_few_and_no_label_helps() -> None:
    found = report_on((), {}, limits=policy(minimum_count=200, parent_tolerance=0.02))
    [ruling] = [
        m for m in found.measures if (m.name, m.baseline, m.asked) == ("photos", "parent", "own")
    ]
    assert ruling.outcome is Outcome.OPEN
    [reason] = [one for one in found.reasons if "on photos against the parent" in one]
    assert f"a suite of about {200 + (ruling.more_images or 0)} test images would decide" in reason
    assert "Add them" not in reason  # such a suite does not grow


def test_a_second_look_is_stricter() -> None:
    first, second = (
        against_parent(report_on(range(200), {NEW: EVERY_FIFTH}, look=look)) for look in (1, 2)
    )
    assert second.lower < first.lower
    assert second.level == pytest.approx(0.005 * 0.04 / 2)


def test_the_live_version_answers_for_what_it_has_lost_since_the_root() -> None:
    """It has lost a fifth, which the candidate keeps lost."""
    live = live_line()
    wrong = {NEW: EVERY_FIFTH, live.version.number: EVERY_FIFTH}
    found = report_on(range(200), wrong, live=live)
    [root] = [
        m for m in found.measures if (m.name, m.baseline, m.asked) == ("photos", "root", "own")
    ]
    assert (root.difference, root.live_difference) == (-0.2, -0.2)
    assert root.live_is_beyond


def test_near_duplicates_are_one_image_and_only_test_images_are_asked() -> None:
    images = entries("photos", [("",)] * 9)
    twins = tuple(
        entry.__class__(**vars(entry) | {"near_duplicate_of": images[0].pixels})
        for entry in entries("twins", [("",)] * 3)
    )
    shelf, other_shelf = SuiteId("suite_shelf"), SuiteId("suite_other")
    assert len(in_order((*images, *twins), Split(), shelf)) == 9
    first = in_order(images, Split(key="a"), shelf)
    assert first != in_order(images, Split(key="b"), shelf)
    assert first != in_order(images, Split(key="a"), other_shelf)
    other = entries("others", [("",)] * 9, Part.VALIDATION)
    mixed = suite("mixed", (*images, *other), SuiteKind.UNLABELLED)
    plan = second_update(suites=[mixed])
    assert {entry.pixels for entry in plan.unlabelled[0].own.entries} == {
        entry.pixels for entry in images
    }
    assert not second_update(suites=[mixed], part=Part.VALIDATION).unlabelled


def test_evidence_of_an_unlabelled_suite_is_recomputed_and_a_changed_label_is_found_out() -> None:
    plan = second_update(suites=[photos(labels_of(range(120)))])
    file = evidence_of(plan, answers_to(plan, {NEW: EVERY_FIFTH}))
    made = opened(file)
    assert not differences(made.facts, made.report, made.parts)
    assert not any(pixels in str(made.facts) for pixels in ORDER)  # so that an erasure finds all
    [row] = [one for one in made.facts["images"] if one["name"] == "photos, labels"]
    part = made.parts[row["file"]]
    first = next(one for one in part if ORDER.index(one[0]) == 0)
    first[-1] = "dog" if first[-1] == "cat" else "cat"
    assert differences(made.facts, made.report, made.parts)


@pytest.mark.parametrize(
    ("images", "share", "labels"), [(200, 0.12, 24), (1000, 0.05, 20), (2000, 0.12, 50)]
)
def test_a_loss_at_the_tolerance_passes_and_fails_at_most_at_the_level(
    images: int, share: float, labels: int
) -> None:
    for alone in (1.0, 0.8):
        passes, fails = chances(images, share, labels, alone, -0.03)
        assert passes <= 1.1 * FIRST_LOOK
        assert fails <= 1.3 * ALPHA
