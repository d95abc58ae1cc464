"""Near-duplicates are one image to every measure."""

from dataclasses import replace

import pytest

from api.registry.report_pages import render_report
from core.datasets.manifests import ManifestEntry
from core.datasets.rules import SuiteKind
from core.evaluation.exams import ScoredSuite
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.paired_hits import PairedHits
from core.evaluation.queries import EvalQuery
from core.evaluation.report import Report
from core.gate.guards import is_guard
from core.gate.kinds import MeasureKind, Outcome
from core.registry.versions import Version
from core.values import Digest
from tests.support.evaluation.evaluations import (
    FIRST,
    SECOND,
    THIRD,
    entries,
    policy,
    report_of,
    suite,
    taught,
    third_update,
)
from tests.support.factories import digest

Z2 = 2.5758293035489**2


def in_threes(name: str, *texts: tuple[str, ...]) -> tuple[ManifestEntry, ...]:
    """Three copies of an image for each of the texts."""
    return tuple(
        replace(
            entry,
            pixels=digest(f"{entry.pixels} {copy}") if copy else entry.pixels,
            near_duplicate_of=entry.pixels if copy else None,
        )
        for entry in entries(name, texts)
        for copy in range(3)
    )


def copied(name: str, *classes: str) -> HeldOutUpdate:
    version = {"first": FIRST, "second": SECOND, "third": THIRD}[name]
    return HeldOutUpdate(version=version, holdout=in_threes(name, *((one,) for one in classes)))


def flipped(who: Version, question: EvalQuery, index: int) -> bool:
    """The candidate has the first image of nine, with its copies, right, the others have not."""
    return index % 9 < 3 if who is THIRD else index % 9 >= 3


def report_of_copies() -> Report:
    def captioned(name: str) -> ScoredSuite:
        captions = [("a dot",), ("a ring",), ("a star",)] * 4
        return suite(name, in_threes(name, *captions), SuiteKind.RETRIEVAL)

    plan = third_update(
        policy=policy(minimum_count=20, negative_flips=0.1),
        candidate=copied("third", *["hat"] * 12),
        earlier=[copied("first", *["bag", "shirt"] * 6), copied("second", *["boot", "coat"] * 6)],
        suites=[
            suite("emoji", in_threes("emoji", *[("cat",), ("sun",)] * 6), SuiteKind.ZERO_SHOT),
            captioned("shapes"),
        ],
    )
    return report_of(plan, flipped)


def test_every_kind_of_measure_counts_copies_as_one_image() -> None:
    found = report_of_copies().measures
    assert {measure.kind for measure in found} == set(MeasureKind)
    for measure in found:
        images = 72 if measure.kind is MeasureKind.HOLDOUTS else 36
        assert measure.images == images
        right_before = 2 / 3 if measure.formerly_right else 1
        assert measure.distinct == images // 3 * right_before
        assert (measure.count, measure.design_effect) == (measure.distinct, 1)
        assert not is_guard(measure, images // 3 + 1)


def test_the_page_says_which_numbers_count_near_duplicates_once() -> None:
    told = "counts one answer for each group of near-duplicates"
    assert told in render_report(report_of_copies().to_json())
    assert told not in render_report(report_of(third_update(), flipped).to_json())


def in_bursts(images: tuple[ManifestEntry, ...], edition: int = 1) -> tuple[ManifestEntry, ...]:
    """Five more copies of each image, with other pixels."""
    return tuple(
        replace(
            one, pixels=digest(f"{one.pixels} {n}"), near_duplicate_of=one.pixels, edition=edition
        )
        for one in images
        for n in range(5)
    )


@pytest.mark.parametrize("kind", [SuiteKind.ZERO_SHOT, SuiteKind.RETRIEVAL])
@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("which", ["easy", "lost"])
def test_bursts_of_some_images_change_nothing(edition: int, which: str, kind: SuiteKind) -> None:
    """Easy images six times would drown what is lost; so would copies that are still right."""
    easy = entries("easy", [("cat",), ("sun",)] * 20)
    hard = entries("hard", [("cat",), ("sun",)] * 10)
    lost = {one.pixels for one in hard[:3]}
    copies = in_bursts(easy if which == "easy" else hard[:3], edition)
    if which == "lost":  # the copies stay right: the smallest digest of the first edition counts
        start = "f" if edition == 1 else "0"
        copies = tuple(
            replace(one, pixels=Digest(start * 60 + f"{n:04}")) for n, one in enumerate(copies)
        )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not THIRD or question.entries[index].pixels not in lost

    def told(
        images: tuple[ManifestEntry, ...],
    ) -> list[tuple[tuple[MeasureKind, str, int, int], tuple[float, float]]]:
        plan = third_update(suites=[suite("emoji", images, kind)], policy=policy(minimum_count=100))
        return [
            (
                (one.kind, one.baseline, one.count, one.lost),
                (round(one.lower, 9), round(one.interval_lower, 9)),
            )
            for one in report_of(plan, right).measures
            if one.name == "emoji" and one.depth == 1
        ]

    assert told(easy + hard + copies) == told(easy + hard)
    assert {counts[-1] for counts, _ in told(easy + hard)} == {3}


def test_image_that_one_update_taught_by_two_classes_is_lost_if_it_is_by_one() -> None:
    """Whoever uploads a copy of each image by another class would else choose which one counts."""
    first = entries("first", [("bag",)] * 20)
    both = HeldOutUpdate(version=FIRST, holdout=saved_again(first, "shirt") + first)
    plan = third_update(policy=policy(minimum_count=100), earlier=[both])

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return question.entries[index].class_name == "bag" and who is not THIRD

    found = [one for one in report_of(plan, right).measures if one.kind is MeasureKind.HOLDOUT]
    assert {(one.lost, one.count) for one in found} == {(20, 20)}


def forgets_the_first(who: Version, question: EvalQuery, index: int) -> bool:
    return not (who is THIRD and question.entries[index].class_name in {"bag", "shirt"})


def saved_again(images: tuple[ManifestEntry, ...], *classes: str) -> tuple[ManifestEntry, ...]:
    """Copies of images with other pixels, one by each of the classes."""
    return tuple(
        replace(
            one,
            pixels=digest(f"{one.pixels} {name} {n}"),
            near_duplicate_of=one.pixels,
            texts=(name,),
        )
        for one in images
        for n, name in enumerate(classes)
    )


@pytest.mark.parametrize("how", ["saved again by another class", "another update in bursts"])
def test_copies_do_not_make_a_loss_a_smaller_part_of_the_pool(how: str) -> None:
    first = HeldOutUpdate(version=FIRST, holdout=entries("first", [("bag",), ("shirt",)] * 10))
    others = first.holdout if "again" in how else entries("second", [("boot",)] * 4)
    copies = saved_again(others, *["boot", "coat"] * 10)
    second = HeldOutUpdate(version=SECOND, holdout=copies)
    plan = third_update(
        policy=policy(minimum_count=100), candidate=copied("third", "hat"), earlier=[first, second]
    )
    pools = [
        one
        for one in report_of(plan, forgets_the_first).measures
        if one.kind is MeasureKind.HOLDOUTS and not one.formerly_right
    ]
    assert pools
    for pool in pools:
        assert (pool.lost, pool.count) == (20, 20 if "again" in how else 24)
        assert pool.count == pool.distinct


def test_the_design_effect_of_captions_that_flip_together_is_worked_by_hand() -> None:
    """12 images of three captions: four are gained and eight lost, so 36 count as about 12."""
    now = [index % 9 < 3 for index in range(36)]
    images = [digest(str(index // 3)) for index in range(36)]
    captions = PairedHits(now=now, before=[not hit for hit in now], groups=images)
    between = 4 * (3 + 1) ** 2 + 8 * (-3 + 1) ** 2  # the mean of an image's three is -1
    independent = 36 - 36 / 9
    expected = (between + 3 * Z2) / (independent + Z2)
    assert captions.design_effect(0.005) == pytest.approx(expected)


def test_copies_are_clustered_wherever_they_stand() -> None:
    one, two = digest("one"), digest("two")
    now, before = [True, True, False, False], [False, False, True, True]
    beside = PairedHits(now=now, before=before, groups=[one, one, two, two])
    apart = PairedHits(now=now[1:3] * 2, before=before[1:3] * 2, groups=[one, two] * 2)
    assert beside.design_effect(0.005) == apart.design_effect(0.005) > 1.5
    assert beside.distinct == apart.distinct == 2


def test_distinct_images_are_as_independent_as_before() -> None:
    hits = PairedHits(
        now=[True, False] * 7, before=[True] * 14, groups=[digest(str(n)) for n in range(14)]
    )
    assert hits.design_effect(0.005) == 1.0


@pytest.mark.parametrize("groups", [1, 5, 20])
def test_few_groups_of_many_pictures_show_a_loss_on_all_of_them(groups: int) -> None:
    """By a fixed camera: one answer of each group counts, and all that count are still right."""
    images = entries("camera", [("fine",), ("scratched",)] * 200)
    first = images[:groups]
    images = first + tuple(
        replace(one, near_duplicate_of=first[n % groups].pixels)
        for n, one in enumerate(images[groups:])
    )
    lost = {one.pixels for one in images[groups:] if one.class_name == "fine"}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not THIRD or question.entries[index].pixels not in lost

    camera = suite("camera", images, SuiteKind.ZERO_SHOT)
    report = report_of(third_update(suites=[camera], policy=policy(class_tolerance=None)), right)
    found = [one for one in report.measures if one.name == "camera"]
    assert {one.outcome for one in found} == {Outcome.OPEN}
    assert {(one.lost, one.every_image) for one in found} == {(0, -len(lost) / 400)}


@pytest.mark.parametrize("kind", [SuiteKind.ZERO_SHOT, SuiteKind.RETRIEVAL])
@pytest.mark.parametrize("grows", [False, True])
def test_near_duplicates_that_are_added_hide_no_loss_on_earlier_ones(
    kind: SuiteKind, *, grows: bool
) -> None:
    """Each drawing comes with one that differs in a detail, and has another class or caption.

    Of these 40 of 100 are lost; another 60, which are added by themselves, are gained.
    """
    first = entries("drawing", [(f"kind {n}",) for n in range(100)])
    details = tuple(
        replace(copy, near_duplicate_of=original.pixels)
        for original, copy in zip(first, entries("detail", [("a hat",)] * 100), strict=True)
    )
    added = entries("added", [("a hat",)] * 60 if grows else ())
    lost, gained = ({one.pixels for one in images} for images in (details[:40], added))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        pixels = question.entries[index % len(question.entries)].pixels
        return pixels not in (lost if who is THIRD else gained)

    images = first + details + tuple(replace(one, edition=2) for one in added)
    limits = policy(class_tolerance=None, minimum_count=50)
    report = report_of(third_update(suites=[suite("s", images, kind)], policy=limits), right)
    found = [one for one in report.measures if one.name == "s" and one.depth == 1]
    assert {one.outcome for one in found} == {Outcome.OPEN}
    sure = 1.645 * 40**0.5 if grows else 0  # of 200 images of the first edition, 40 are lost
    assert all(one.every_image == pytest.approx((sure - 40) / 200, abs=1e-4) for one in found)


def test_a_small_first_edition_with_a_near_duplicate_holds_nothing_back_by_chance() -> None:
    """One lost answer of twenty is five points of them, and none of what was added is lost."""
    first = entries("first", [("cat",), ("sun",)] * 10)
    first = (first[0], replace(first[1], near_duplicate_of=first[0].pixels), *first[2:])
    added = tuple(replace(one, edition=2) for one in entries("added", [("cat",), ("sun",)] * 200))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not THIRD or question.entries[index].pixels != first[5].pixels

    emoji = suite("emoji", first + added, SuiteKind.ZERO_SHOT)
    report = report_of(third_update(suites=[emoji], policy=policy(minimum_count=100)), right)
    assert {one.outcome for one in report.measures if one.name == "emoji"} == {Outcome.HOLDS}


@pytest.mark.parametrize("kind", [SuiteKind.ZERO_SHOT, SuiteKind.RETRIEVAL])
@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("loss", [0, 4])
def test_what_is_gained_elsewhere_hides_no_loss_on_later_pictures_of_the_same_scenes(
    kind: SuiteKind, edition: int, loss: int
) -> None:
    """Of ten later pictures `loss` are lost, and as many others are gained as there are scenes."""
    names = [(f"kind {n % 8}",) for n in range(400)]
    first, second = entries("first", names), entries("later", names)
    if kind is SuiteKind.RETRIEVAL:
        second = entries("later", [(f"{name}, dusty",) for (name,) in names])
    later = tuple(
        replace(copy, near_duplicate_of=original.pixels, edition=edition)
        for original, copy in zip(first, second, strict=True)
    )
    others = entries("others", [(f"other {n % 8}",) for n in range(400)])
    changed = {one.pixels for n, one in enumerate(later) if n // 8 % 10 < loss}
    gained = {one.pixels for one in others}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        pixels = question.entries[index % len(question.entries)].pixels
        if pixels in gained:
            return who is THIRD or pixels[-1] in "01234567"
        return who is not THIRD or pixels not in changed

    line = suite("line", first + later + others, kind)
    report = report_of(third_update(suites=[line], policy=policy(minimum_count=100)), right)
    found = [one for one in report.measures if one.name == "line" and one.depth == 1]
    assert all(one.every_image is not None and one.every_image > 0.01 for one in found)
    assert {one.outcome for one in found} == {Outcome.OPEN if loss else Outcome.HOLDS}
    if loss and kind is SuiteKind.RETRIEVAL:
        assert {one.class_mean.latest for one in found if one.class_mean} == {True}
        told = "On the last image of each of the 400 groups that have several it is"
        assert any(told in one for one in report.reasons)


@pytest.mark.parametrize("lost", [0, 16])
@pytest.mark.parametrize("has_captions", [False, True])
def test_a_gain_is_told_by_the_last_of_near_duplicates_too(
    *, has_captions: bool, lost: int
) -> None:
    """All plain drawings are gained, and of so many of 40 the copy with a detail is lost."""
    names = [(f"thing {n}" if has_captions else f"kind {n % 4}",) for n in range(40)]
    plain, details = entries("plain", names), entries("detail", names)
    details = tuple(
        replace(
            one,
            texts=(f"{one.texts[0]}, dotted",) if has_captions else one.texts,
            near_duplicate_of=original.pixels,
        )
        for original, one in zip(plain, details, strict=True)
    )
    more = entries("more", names)
    images, changed = plain + more + details, {one.pixels for one in details[:lost]}
    own = HeldOutUpdate(
        version=taught(SECOND, THIRD.number, () if has_captions else sorted({n for (n,) in names})),
        holdout=() if has_captions else images,
        captions=images if has_captions else (),
    )
    line = suite("line", entries("line", [("cat",), ("dog",)] * 200), SuiteKind.ZERO_SHOT)
    plan = third_update(candidate=own, suites=[line], policy=policy(minimum_count=100))

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        pixels = question.entries[index % len(question.entries)].pixels
        if pixels in {one.pixels for one in plain + more}:
            return who.number == THIRD.number
        return who.number != THIRD.number or pixels not in changed

    report = report_of(plan, right)
    (gain,) = (one for one in report.measures if one.kind is MeasureKind.GAIN and one.depth == 1)
    assert gain.every_image is not None
    assert gain.every_image > 0.3
    assert gain.outcome is (Outcome.OPEN if lost else Outcome.HOLDS)
    if lost:
        assert gain.class_mean is not None
        assert gain.class_mean.latest
        told = (
            "each of the 40 groups that have several"
            if has_captions
            else ("each class among near-duplicates, in the mean of 4 classes,")
        )
        assert f"On the last image of {told} it is −40.0 points, and surely" in " ".join(
            report.reasons
        )


def test_no_copy_in_the_same_edition_takes_the_place_of_its_original() -> None:
    images = entries("hard", [("cat",), ("sun",)] * 50)
    copies = tuple(
        replace(one, pixels=Digest("0" * 60 + f"{n:04}"), near_duplicate_of=one.pixels)
        for n, one in enumerate(images)
    )
    originals = {one.pixels for one in images}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not THIRD or question.entries[index].pixels not in originals

    emoji = suite("emoji", images + copies, SuiteKind.ZERO_SHOT)
    report = report_of(third_update(suites=[emoji]), right)
    assert {one.lost for one in report.measures if one.name == "emoji"} == {100}


def test_copies_that_are_taught_again_by_the_same_class_hide_no_loss_of_the_originals() -> None:
    images = entries("first", [("bag",), ("shirt",)] * 20)
    first = HeldOutUpdate(version=FIRST, holdout=images)
    copies = tuple(
        replace(one, pixels=digest(f"{one.pixels} again"), near_duplicate_of=one.pixels)
        for one in images
    )
    again = HeldOutUpdate(version=SECOND, holdout=copies)
    originals = {one.pixels for one in images}

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        return who is not THIRD or question.entries[index].pixels not in originals

    report = report_of(
        third_update(earlier=[first, again], policy=policy(minimum_count=100)), right
    )
    pool = [one for one in report.measures if one.kind is MeasureKind.HOLDOUTS]
    assert {(one.count, one.lost) for one in pool} == {(40, 40)}


@pytest.mark.parametrize("cameras", [1, 5])
def test_an_update_that_loses_all_pictures_of_a_few_cameras_gains_nothing(cameras: int) -> None:
    """Each camera's pictures count once, so that other gains would outweigh them."""
    others = entries("own", [("hat",)] * 40)
    pictures = entries("camera", [("cap",)] * 300)
    copies = pictures[:cameras] + tuple(
        replace(one, near_duplicate_of=pictures[n % cameras].pixels)
        for n, one in enumerate(pictures[cameras:])
    )

    def right(who: Version, question: EvalQuery, index: int) -> bool:
        entry = question.entries[index]
        if entry.class_name not in {"hat", "cap"}:
            return True
        return (who is THIRD) is (entry.class_name == "hat")

    third = replace(THIRD, update_classes=("hat", "cap"), classes=(*SECOND.classes, "hat", "cap"))
    own = HeldOutUpdate(version=third, holdout=others + copies)

    def judged(who: Version, question: EvalQuery, index: int) -> bool:
        return right(THIRD if who is third else who, question, index)

    report = report_of(third_update(candidate=own), judged)
    [gain] = [one for one in report.measures if one.kind is MeasureKind.GAIN]
    assert (gain.gained, gain.lost, gain.outcome) == (40, cameras, Outcome.OPEN)
    assert gain.every_image == (40 - 300) / 340
    assert any("Over all images it changed by −76.5 points" in one for one in report.reasons)
