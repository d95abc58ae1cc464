"""Small gains of most classes hide no loss of the others."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from core.datasets.manifests import ManifestEntry
from core.datasets.rules import SuiteKind
from core.evaluation.holdouts import HeldOutUpdate
from core.evaluation.plan import LiveLineage, plan_queries
from core.evaluation.queries import ClassQuery, EvalQuery
from core.evaluation.report import Report
from core.gate.changes import Losing
from core.gate.kinds import ClassList
from core.gate.rules import Verdict
from core.registry.versions import Version
from tests.support.evaluation.evaluations import (
    MODEL,
    ROOT,
    entries,
    policy,
    report_of,
    suite,
    taught,
)

CLASSES = 100
SHOWN = entries("shown", [(f"kind {n % CLASSES}",) for n in range(4000)])
OWN = HeldOutUpdate(
    version=taught(ROOT, 2, ("sun", "moon")),
    holdout=entries("own", [("sun",), ("moon",)] * 40),
)


def judged(gain: int, loss: int) -> Report:
    """The report where three of four classes gain and one loses, in points, and 4 % flip anyway."""
    plan = plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=OWN,
        parent=ROOT,
        root=ROOT,
        earlier=[],
        suites=[suite("things", SHOWN, SuiteKind.ZERO_SHOT)],
    )

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        image, new = query.entries[index], who.number == plan.candidate.number
        if image.texts[0] in {"sun", "moon"}:
            return new or index % 3 == 0
        loses = int(image.class_name.removeprefix("kind ")) % 4 == 0
        drawn = int(image.pixels[:8], 16) % 100
        if drawn < 2 + (0 if loses else gain):
            return new
        return not new or drawn < 98 - (loss if loses else 0)

    return report_of(plan, right)


@pytest.mark.parametrize(
    ("gain", "loss", "verdict"),
    [(0, 0, Verdict.PASSED), (3, 9, Verdict.INCONCLUSIVE)],
    ids=["kept", "lost"],
)
def test_small_gains_of_most_classes_do_not_make_up_for_what_the_others_lose(
    gain: int, loss: int, verdict: Verdict
) -> None:
    report = judged(gain, loss)
    assert report.verdict is verdict
    (own, *_) = report.measures
    assert abs(own.difference) < 0.01
    assert own.losing is not None
    assert own.losing.images < 2400
    assert (own.lower == own.losing.at_most) is own.lost_by_some is bool(loss)
    assert {own.lost_in_classes, own.held_back_by_others} == {False}
    if loss:
        told = f"whose other images show a loss, it is −{-100 * own.losing.mean:.1f} points, and"
        assert told in report.reasons[0]
        assert "what other classes gain does not make up for it." in report.reasons[0]


def passed(
    *shown: Sequence[ManifestEntry],
    changed: Callable[[ManifestEntry, ClassQuery], float],
    earlier: Sequence[HeldOutUpdate] = (),
) -> Report:
    """The report of one or several suites where 4 % flip, and images change by so much besides."""
    line = [ROOT, *(one.version for one in earlier)]
    plan = plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=replace(OWN, version=taught(line[-1], len(line) + 1, ("sun", "moon"))),
        parent=line[-1],
        root=ROOT,
        earlier=earlier,
        suites=[
            suite(f"things{n}" if n else "things", images, SuiteKind.ZERO_SHOT)
            for n, images in enumerate(shown)
        ],
    )

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        image, new = query.entries[index], who.number == plan.candidate.number
        assert isinstance(query, ClassQuery)
        if image.texts[0] in {"sun", "moon"}:
            return new or index % 3 == 0
        drawn, change = int(image.pixels[:8], 16) % 1000 / 1000, changed(image, query)
        if drawn < 0.02 + max(change, 0):
            return new
        return not new or drawn < 0.98 + min(change, 0)

    return report_of(plan, right)


def number_of(image: ManifestEntry) -> int:
    return int(image.class_name.removeprefix("kind "))


def held_back(report: Report) -> set[tuple[str, ClassList]]:
    return {(one.name, one.asked) for one in report.measures if one.lost_by_some}


def test_names_that_take_some_of_many_classes_are_no_better_for_what_others_regain() -> None:
    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        if "sun" not in query.classes:
            return 0.0
        return 0.05 if number_of(image) % 4 else -0.15

    report = passed(SHOWN, changed=changed)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert held_back(report) == {("things", ClassList.UNION)}


def test_classes_that_lose_an_image_by_chance_do_not_hide_a_few_that_lose_half_of_them() -> None:
    """No class fails alone, and all together lost half of what they may."""

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        return -0.45 if number_of(image) < 3 else 0.0

    kept = passed(SHOWN, changed=lambda image, query: 0.0)
    assert (kept.verdict, held_back(kept)) == (Verdict.PASSED, set())
    report = passed(SHOWN, changed=changed)
    (own, *_) = report.measures
    assert own.difference > -0.02
    assert own.losing is not None
    assert (own.losing.classes, own.losing.beyond) == (3, 0.3)
    assert {*own.losing.names} == {"kind 0", "kind 1", "kind 2"}
    assert (report.verdict, report.lost_classes) == (Verdict.INCONCLUSIVE, ())
    named = f"3 classes ({', '.join(own.losing.names)}) whose other images show a loss of more than"
    assert f"{named} 30.0 points" in report.reasons[0]


MANY_SMALL = entries("many small", [(f"kind {n % 500}",) for n in range(2000)])
TWO_LARGE = entries("two large", [(f"kind {900 + n % 2}",) for n in range(80)])


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_classes_of_four_images_do_not_hide_that_half_of_a_large_one_is_lost(lost: int) -> None:
    """One image that is lost by chance makes a small class lose, and there are hundreds of them."""

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        return -0.5 if 900 <= number_of(image) < 900 + lost else 0.0

    report = passed([*MANY_SMALL, *TWO_LARGE], changed=changed)
    (own, *_) = report.measures
    if not lost:
        assert (report.verdict, held_back(report)) == (Verdict.PASSED, set())
        return
    assert (report.verdict, report.lost_classes) == (Verdict.INCONCLUSIVE, ())
    assert own.difference > -0.02
    assert own.losing is not None
    assert (own.losing.classes, own.losing.at_least) == (lost, 10)
    assert ") with at least 10 images whose other images show a loss" in report.reasons[0]


@pytest.mark.parametrize("loses", [False, True])
def test_small_classes_of_small_holdouts_do_not_hide_one_that_all_of_these_show(
    *, loses: bool
) -> None:
    """Each of six holdouts has too few images of it, and their pool has hundreds of classes."""
    earlier, line = list[HeldOutUpdate](), ROOT
    for number in range(2, 8):
        names = [f"kind {100 * number + n}" for n in range(60)]
        line = replace(
            taught(line, number, ("kind 7777", *names)),
            classes=tuple(dict.fromkeys((*line.classes, "kind 7777", *names))),
        )
        shown = [("kind 7777",)] * 6 + [(name,) for name in names] * 2
        holdout = entries(f"small {number}", shown)
        earlier.append(HeldOutUpdate(version=line, holdout=holdout, passed=True))

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        return -0.45 if loses and image.class_name == "kind 7777" else 0.0

    report = passed(SHOWN, changed=changed, earlier=earlier)
    found = {one.name for one in report.measures if one.lost_by_some and one.losing.joined}  # type: ignore[union-attr]
    assert found == ({"version 2"} if loses else set())
    assert report.lost_classes == ()


def test_names_that_overlap_may_take_most_of_a_class_of_a_suite() -> None:
    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        return -0.9 if "sun" in query.classes and number_of(image) < 3 else 0.0

    report = passed(SHOWN, changed=changed)
    assert report.verdict is Verdict.PASSED
    (union,) = (one for one in report.measures if (one.name, one.asked) == ("things", "union"))
    assert union.difference < -0.02
    assert held_back(report) == set()


def test_images_that_are_added_to_each_class_do_not_make_up_for_what_some_lost() -> None:
    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        if image.edition > 1:
            return 0.0
        return -0.15 if number_of(image) % 4 == 0 else 0.05

    first = entries("first", [(f"kind {n % 20}",) for n in range(400)])
    added = entries("added", [(f"kind {n % 20}",) for n in range(1600)])
    grown = [*first, *(replace(one, edition=2) for one in added)]
    kept = passed(grown, changed=lambda image, query: 0.0)
    assert kept.verdict is Verdict.PASSED
    assert held_back(kept) == set()
    lost = passed(grown, changed=changed)
    (own, *_) = lost.measures
    assert own.held_back_by is None
    assert lost.verdict is Verdict.INCONCLUSIVE
    assert ("things", ClassList.OWN) in held_back(lost)
    assert own.losing is not None
    assert own.losing.images <= 400


def test_of_pictures_by_a_fixed_camera_an_image_of_each_class_in_a_group_is_asked() -> None:
    """Forty groups of near-duplicates show the same four classes, of which the first one counts."""
    order = [(group, kind) for group in range(40) for kind in range(4)]
    shown = list(entries("camera", [(f"kind {kind}",) for _, kind in order]))
    for place, (group, _) in enumerate(order):
        if place % 4:
            shown[place] = replace(shown[place], near_duplicate_of=shown[4 * group].pixels)
    counted = {shown[4 * group].pixels for group in range(40)}

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        if image.pixels in counted or number_of(image) == 3:
            return 0.0
        return 0.3 if number_of(image) == 1 else -0.3 if number_of(image) == 2 else 0.0

    assert ("things", ClassList.OWN) in held_back(passed(shown, changed=changed))
    assert held_back(passed(shown, changed=lambda image, query: 0.0)) == set()


@pytest.mark.parametrize(("beside", "certain"), [(1, True), (2, False)])
def test_of_one_of_several_small_holdouts_a_class_has_to_lose_more_surely(
    beside: int, certain: bool
) -> None:
    """All four images of a class are lost: more than 1.645 and less than 2.33 errors below zero."""
    before, earlier = ROOT, []
    for number in range(2, 2 + beside):
        names = [f"kind {number}{n}" for n in range(10)]
        before = taught(before, number, names)
        shown = entries(f"holdout {number}", [(name,) for name in names] * 4)
        earlier.append(HeldOutUpdate(version=before, holdout=shown))

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        return -1.0 if image.class_name == "kind 20" else 0.0

    lost = {name for name, _ in held_back(passed(SHOWN, changed=changed, earlier=earlier))}
    assert ("version 2" in lost) is certain


def test_an_image_does_not_tell_by_itself_that_its_class_loses() -> None:
    bags = [("bag", -1), ("bag", 0), ("bag", 0)]  # of the first, the others show no loss
    hats = [("hat", -1), ("hat", -1), ("hat", 1), ("hat", 0)]  # of the third, they show two
    found = Losing.of([*bags, *hats, ("cup", 1)], 1.645)
    assert found == Losing(
        images=4,
        classes=2,
        names=("bag", "hat"),
        mean=1 / 4,
        at_most=pytest.approx(1 / 4 + 1.6449 / 4, abs=1e-4),
    )
    assert Losing.of([("cup", -1), ("pot", 1)], 1.645) is None


def test_of_classes_that_lose_those_with_more_images_are_asked_alone_too() -> None:
    """Of each class of twelve, the ten images that count have gained one."""
    small = [(f"small {n}", change) for n in range(30) for change in (-1, -1, 1, *[0] * 9)]
    large = [("large", -1)] * 12 + [("large", 0)] * 18
    found = Losing.worst([*small, *large], 1.645, limit=None)
    assert found is not None
    assert (found.classes, found.images, found.at_least) == (1, 30, 30)
    alone = Losing.of(large, 1.645)
    assert alone == replace(found, at_least=1)


def test_the_classes_that_lose_most_are_named() -> None:
    worse = [("a", -1)] * 2 + [("b", -1)] * 5 + [("c", -1)] * 3 + [("d", -1)] * 4
    found = Losing.of(worse, 1.645)
    assert found is not None
    assert (found.names, found.classes) == (("b", "d", "c"), 4)

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        return -0.45 if number_of(image) < 4 else 0.0

    report = passed(SHOWN, changed=changed)
    told = [
        f"{one.losing.classes} classes ({', '.join(one.losing.names)}, and 1 more) whose other"
        for one in report.measures
        if one.losing is not None and one.lost_by_some
    ]
    assert any(sentence in reason for sentence in told for reason in report.reasons)


def test_a_report_that_did_not_name_them_yet_is_read() -> None:
    report = passed(SHOWN, changed=lambda image, query: -0.15 if number_of(image) % 4 else 0.05)
    stored = json.loads(json.dumps(report.to_json()))
    for one in stored["measures"]:
        for newer in ("names", "joined", "at_least"):
            (one["losing"] or {}).pop(newer, None)
    (own, *_) = Report.from_json(stored).measures
    assert own.losing is not None
    assert (own.losing.names, own.losing.joined, own.losing.at_least) == ((), False, 1)


@pytest.mark.parametrize("loses", [False, True])
def test_a_class_with_a_few_images_in_each_of_several_suites_holds_a_version_back(
    *, loses: bool
) -> None:
    """Fifteen of 24 images of one class among 250 are lost; in each suite they are few of four."""

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        del query
        return -0.8 if loses and number_of(image) == 7 else 0.0

    suites = [entries(f"suite {n}", [(f"kind {n % 250}",) for n in range(1000)]) for n in range(6)]
    only = entries("only", [(f"kind {n % 250 + 250}",) for n in range(1000)])
    report = passed(only, *suites, changed=changed)
    assert report.lost_classes == ()
    found = [one for one in report.measures if one.lost_by_some]
    if not loses:
        assert (report.verdict, found) == (Verdict.PASSED, [])
        return
    assert report.verdict is Verdict.INCONCLUSIVE
    assert {(one.name, one.asked) for one in found} == {("things1", ClassList.OWN)}
    for one in found:
        assert one.losing is not None
        assert one.losing.joined
        assert one.losing.classes == 1
    assert (
        "images of one class (kind 7), in several suites, whose other images show"
        in report.reasons[0]
    )
    assert Report.from_json(report.to_json()).measures == report.measures


def updates_with(*images: int) -> list[HeldOutUpdate]:
    """Updates that each held out six images of one class, and so many of each of 100 others."""
    earlier, line = list[HeldOutUpdate](), ROOT
    for number, each in enumerate(images, 2):
        names = [f"kind {100 * number + n}" for n in range(100)]
        line = replace(
            taught(line, number, ("kind 7777", *names)),
            classes=tuple(dict.fromkeys((*line.classes, "kind 7777", *names))),
        )
        shown = [("kind 7777",)] * 6 + [(name,) for name in names] * each
        holdout = entries(f"update {number}", shown)
        earlier.append(HeldOutUpdate(version=line, holdout=holdout, passed=True))
    return earlier


def only_the_common_class(image: ManifestEntry, query: ClassQuery) -> float:
    del query
    return -0.6 if image.class_name == "kind 7777" else 0.0


@pytest.mark.parametrize("loses", [False, True])
def test_a_class_with_a_few_images_in_each_of_several_holdouts_holds_a_version_back(
    *, loses: bool
) -> None:
    changed = only_the_common_class if loses else (lambda image, query: 0.0)
    report = passed(SHOWN, changed=changed, earlier=updates_with(4, 4, 4, 4))
    found = [one for one in report.measures if one.losing is not None and one.losing.joined]
    assert {one.name for one in found if one.lost_by_some} == ({"version 2"} if loses else set())
    assert report.verdict is (Verdict.INCONCLUSIVE if loses else Verdict.PASSED)
    if loses:
        assert ", in several holdouts, whose other images show a loss" in " ".join(report.reasons)


@pytest.mark.parametrize("images", [(2, 2, 4, 4), (4, 4, 2, 2)], ids=["small first", "small last"])
def test_holdouts_together_are_judged_alike_whichever_is_the_first(images: Sequence[int]) -> None:
    """A small one beside others has to lose more surely, and several together do not."""
    report = passed(SHOWN, changed=only_the_common_class, earlier=updates_with(*images))
    found = {
        one.losing
        for one in report.measures
        if one.losing and one.losing.joined and one.baseline.startswith("parent")
    }
    for one in found:
        flips = round(one.images * -one.mean)
        assert one.at_most == pytest.approx(one.mean + 1.6449 * flips**0.5 / one.images, abs=1e-3)
    assert found


@pytest.mark.parametrize("newer", [False, True])
def test_names_that_take_some_of_what_several_suites_show_hold_a_version_back(
    *, newer: bool
) -> None:
    """Each of six suites shows four images of a class, of which a newer name takes some."""

    def changed(image: ManifestEntry, query: ClassQuery) -> float:
        return -0.4 if newer and "sun" in query.classes and number_of(image) < 10 else 0.0

    suites = [entries(f"suite {n}", [(f"kind {n % 250}",) for n in range(1000)]) for n in range(6)]
    report = passed(*suites, changed=changed)
    found = [one for one in report.measures if one.lost_by_some]
    joined = {(one.name, one.asked) for one in found if one.losing and one.losing.joined}
    assert joined == ({("things", ClassList.UNION)} if newer else set())
    assert report.verdict is (Verdict.INCONCLUSIVE if newer else Verdict.PASSED)
    assert report.lost_classes == ()


@pytest.mark.parametrize("loses", [False, True])
def test_what_a_branch_was_taught_hides_no_class_of_the_line_that_is_live(*, loses: bool) -> None:
    """Four live updates held out six images each of a class, and the branch sixty others of it.

    The branch gains all of its own, has lost those of the line, and is the candidate's parent.
    """
    extra, updates, line = "kind 7777", list[HeldOutUpdate](), ROOT
    for number in range(2, 7):
        names = [f"kind {100 * number + n}" for n in range(100)]
        images = [(extra,)] * (60 if number == 6 else 6) + [(name,) for name in names] * 4
        before = updates[-2].version if number == 6 else line
        line = replace(
            taught(before, number, (extra, *names)),
            classes=tuple(dict.fromkeys((*before.classes, extra, *names))),
        )
        holdout = entries(f"update {number}", images)
        updates.append(HeldOutUpdate(version=line, holdout=holdout, passed=number < 6))
    *lived, latest, branch = updates
    candidate = replace(OWN, version=taught(branch.version, 7, ("sun", "moon")))
    plan = plan_queries(
        model=MODEL,
        policy=policy(minimum_count=350),
        candidate=candidate,
        parent=branch.version,
        root=ROOT,
        earlier=[*lived, branch],
        suites=[suite("things", SHOWN[:1000], SuiteKind.ZERO_SHOT)],
        live=LiveLineage(version=latest.version, lineage=frozenset(range(1, 6)), updates=(latest,)),
    )
    theirs = {one.pixels for one in branch.holdout}

    def right(who: Version, query: EvalQuery, index: int) -> bool:
        image, of_branch = query.entries[index], who.number >= branch.version.number
        if image.texts[0] in {"sun", "moon"}:
            return who.number == candidate.version.number or index % 3 == 0
        if image.texts[0] == extra and image.pixels in theirs:
            return of_branch
        if image.texts[0] == extra and loses:
            return not of_branch or int(image.pixels[:8], 16) % 3 == 0
        return int(image.pixels[:8], 16) % 50 > 0

    report = report_of(plan, right)
    found = [one for one in report.measures if one.lost_by_some]
    assert {(one.name, one.baseline) for one in found if one.losing and one.losing.joined} == (
        {("version 2", "live version")} if loses else set()
    )
    assert report.verdict is (Verdict.INCONCLUSIVE if loses else Verdict.PASSED)
