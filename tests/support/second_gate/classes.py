"""The rules of classes: the mean of their changes, and those that lose."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import mean
from typing import Any

from scipy.special import ndtri

from tests.support.second_gate.answers import answers_on, by_class, first_ones, paired
from tests.support.second_gate.evidence import DIRECTIONS, Evidence, Json, Row, asked_of

OF_CLASSES = {"zero_shot", "holdout", "holdouts"}


def apart(about: Json) -> bool:
    """The mean of classes is asked: not of captions, nor with all suites' classes."""
    counts = about["kind"] in OF_CLASSES and about["asked"] in ("own", "union", "learned")
    return counts and not about["flips"]


def parts_count(about: Json) -> bool:
    """Classes that are not improved are judged by themselves, but not in every measure."""
    elsewhere = about["flips"] or about["asked"] == "default"
    return about["kind"] in OF_CLASSES and not elsewhere


def of_its_own(evidence: Evidence, about: Json) -> list[list[int]]:
    """The changes of each class by images of its own, of each group of near-duplicates one."""
    parts = by_class(evidence, about).items()
    return [[row[0] - row[1] for row in each] for (_, edition), each in parts if edition is None]


def by_label(evidence: Evidence, rows: Sequence[Row]) -> list[list[int]]:
    """The changes of each class."""
    changes: dict[str, list[int]] = {}
    for now, before, _, _, label, _ in rows:
        changes.setdefault(evidence.meaning(str(label)), []).append(now - before)
    return [*changes.values()]


def certainty(about: Json) -> float:
    """The standard errors of 5 %, or of 1 % where a small holdout is judged with others, too."""
    return float(-ndtri(0.01 if about["pooled"] else 0.05))


def worst_mean(evidence: Evidence, about: Json) -> float | None:
    """The worst of the means: class by class, of the others, and without what visibly gained."""
    parts = [
        *by_classes(evidence, about),
        *parts_of(evidence, about),
        *kept_without_gain(evidence, about),
    ]
    means = [mean_of_classes(by_label(evidence, part), certainty(about)) for part in parts]
    return min((one for one in means if one is not None), default=None)


def mean_of_classes(each: Sequence[Sequence[int]], errors: float, least: int = 2) -> float | None:
    """The best that the mean of the classes' changes can be, by so many standard errors."""
    if len(each) < least:
        return None
    return min(
        centre(each, most) + errors * sqrt(spread)
        for most in (1, 30)
        for spread in [
            sum(share(one, each, most) ** 2 * sum(map(abs, one)) / len(one) ** 2 for one in each)
        ]
    )


def share(one: Sequence[float], each: Iterable[Sequence[float]], most: int) -> float:
    """The weight of a class in the mean: by its images, which count up to so many."""
    return min(len(one), most) / sum(min(len(other), most) for other in each)


def centre(each: Iterable[Sequence[float]], most: int) -> float:
    """The mean of the classes' changes."""
    every = [*each]
    return sum(share(one, every, most) * mean(one) for one in every)


def losing(evidence: Evidence, about: Json) -> dict[str, Any] | None:
    """The worst change where the others of a class lose, or lose too much, of several parts.

    Of suites beside newer classes, not where they lose more than half: a name may mean the same.
    """
    if not apart(about):
        return None
    return worst_of(evidence, by_classes(evidence, about), about) or None


def joined_losing(evidence: Evidence, joined: Json) -> tuple[int, dict[str, Any] | None]:
    """The same of those classes that several suites or holdouts show, by all their images.

    With the place of the first that shows such a class.
    """
    each = [
        {evidence.meaning(entry[-1]) for entry in asked_of(exam, joined["asked"])["entries"]}
        for exam, _ in joined["pairs"]
    ]
    several = {name for names in each for name in names if sum(name in one for one in each) > 1}
    parts = [
        [row for row in rows if evidence.meaning(str(row[4])) in several]
        for rows in editions(paired(evidence, joined, evidence.plan["candidate"]))
    ]
    place = next((place for place, names in enumerate(each) if names & several), 0)
    found = worst_of(evidence, parts, joined)
    return place, (found | {"joined": True} if found else None)


def worst_of(evidence: Evidence, parts: Iterable[Sequence[Row]], about: Json) -> dict[str, Any]:
    """The worst change of several parts, none where no class loses."""
    most = 0.5 if (about["kind"], about["asked"]) == ("zero_shot", "union") else 1.0
    found = [
        worst | {"at_least": size}
        for rows in parts
        for size in (1, 10, 30)
        for large in [of_size(evidence, rows, size)]
        for least in sorted({0.0, evidence.policy["class_tolerance"] or 0.0})
        if (worst := of_losers(evidence, large, (least, most), certainty(about))) is not None
    ]
    return min(found, key=lambda one: one["at_most"], default={})


def of_size(evidence: Evidence, rows: Sequence[Row], least: int) -> list[Row]:
    """The rows of the classes that have at least so many."""
    names = [evidence.meaning(str(row[4])) for row in rows]
    sizes = Counter(names)
    return [row for row, name in zip(rows, names, strict=True) if sizes[name] >= least]


def of_losers(
    evidence: Evidence, rows: Sequence[Row], between: tuple[float, float], errors: float
) -> dict[str, Any] | None:
    """The change where the others of a class lose a share between two."""
    least, most = between
    each = [(evidence.meaning(str(label)), now - before) for now, before, _, _, label, _ in rows]
    of_class: dict[str, list[int]] = {}
    for name, change in each:
        of_class.setdefault(name, []).append(change)
    sums = {name: (sum(changes), len(changes) - 1) for name, changes in of_class.items()}
    lost, losers = [], set()
    for name, change in each:
        net, others = sums[name][0] - change, sums[name][1]
        if least * others < -net <= most * others:
            lost.append(change)
            losers.add(name)
    if not lost:
        return None
    at_most = (sum(lost) + errors * sqrt(sum(map(abs, lost)))) / len(lost)
    mean = sum(lost) / len(lost)
    told = {"images": len(lost), "mean": mean, "at_most": at_most, "beyond": least}
    return {**told, "names": losers, "joined": False}


def by_classes(evidence: Evidence, about: Json) -> list[list[Row]]:
    """The parts asked class by class: all, each older edition, and one of each class of a group.

    That is the one that came first, where a group has several classes, and the one that came last,
    where it has several.
    """
    now = evidence.plan["candidate"]
    found = editions(paired(evidence, about, now))
    for rows, query in of_each_edition(evidence, about):
        first = first_ones(query, each_class=True)
        if len(first) > len(first_ones(query, each_class=False)):
            found.append([rows[place] for place in first])
    return found + last_of_each_class(evidence, about)


def last_of_each_class(evidence: Evidence, about: Json) -> list[list[Row]]:
    """The answers about the one of each class of a group that an edition had last, of several."""
    found = []
    for rows, query in of_each_edition(evidence, about):
        first = {*first_ones(query, each_class=True)}
        if last := {*first_ones(query, each_class=True, newest=True)} - first:
            found.append([rows[place] for place in sorted(last)])
    return found


def last_of_each_group(evidence: Evidence, about: Json) -> list[list[list[float]]]:
    """The mean change of the captions of the last image that an edition had of each group."""
    found = []
    for rows, query in of_each_edition(evidence, about):
        entries = query["entries"]
        first = first_ones(query, each_class=False)
        later = {*first_ones(query, each_class=False, newest=True)} - {*first}
        last = {entries[at][0] for at in later}
        searched = [one for one in entries for _ in one[3:]]
        told = entries if about["kind"] == "image_to_text" else searched
        if about["kind"] == "gain":
            told = [*entries, *searched]
        changes: dict[str, list[int]] = {}
        for row, (pixels, *_) in zip(rows, told, strict=True):
            if pixels in last:
                changes.setdefault(row[2], []).append(row[0] - row[1])
        if last:
            found.append([[mean(each)] for each in changes.values()])
    return found


def of_each_edition(evidence: Evidence, about: Json) -> list[tuple[list[Row], Json]]:
    """The answers to all images that each edition had, and these; of several exams there are none.

    Captions are searched for among all images.
    """
    if len(about["pairs"]) > 1:
        return []
    ((exam, version),) = about["pairs"]
    both = about["kind"] == "gain" and "among" in exam
    every = [
        row
        for kind in (DIRECTIONS if both else (about["kind"],))
        for row in answers_on(
            evidence, {**about, "kind": kind}, evidence.plan["candidate"], exam, version
        )
    ]
    query = asked_of(exam, about["asked"])
    found = []
    for edition in {born for _, _, born, *_ in query["entries"]}:
        some = [one for one in query["entries"] if one[2] <= edition]
        rows = [row for row in every if row[3] <= edition]
        found.append((rows, {**query, "entries": some}))
    return found


def editions(every: list[Row]) -> list[list[Row]]:
    """All answers, and those that each older edition had."""
    older = sorted({row[3] for row in every})[:-1]
    return [every, *([row for row in every if row[3] <= edition] for edition in older)]


def parts_of(evidence: Evidence, about: Json) -> list[list[Row]]:
    """All answers and, in no pool, what was not taught, each with what older editions had."""
    found = editions(paired(evidence, about, evidence.plan["candidate"]))
    if not about["pooled"]:
        found += editions(paired(evidence, about, evidence.plan["candidate"], others=True))
    return found


def kept_without_gain(evidence: Evidence, about: Json) -> list[list[Row]]:
    """The answers of which others of the class do not gain: of all, and of what was not taught."""
    found = [(rows, without_gain(evidence, rows)) for rows in parts_of(evidence, about)]
    return [kept for rows, kept in found if 0 < len(kept) < len(rows)]


def without_gain(evidence: Evidence, rows: Sequence[Row]) -> list[Row]:
    """The answers of which the others of the class, among these, did not visibly gain."""
    labels = [evidence.meaning(str(label)) for *_, label, _ in rows]
    tables = {
        name: [
            (now, before)
            for (now, before, *_), label in zip(rows, labels, strict=True)
            if label == name
        ]
        for name in {*labels}
    }

    def visible(row: Row, label: str) -> bool:
        without = [*tables[label]]
        without.remove(row[:2])
        up, down = without.count((True, False)), without.count((False, True))
        return up > down and up - down >= sqrt(up + down)

    return [row for row, label in zip(rows, labels, strict=True) if not visible(row, label)]
