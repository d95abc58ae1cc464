"""Answers that count, of the candidate and of a version before it, as evidence has them."""

import hashlib
from collections.abc import Iterator
from math import inf, sqrt
from typing import Any

from tests.support.second_gate.evidence import DIRECTIONS, Evidence, Json, Row, asked_of, name_of


def default(exam: Json, version: Json) -> Json:
    """The question that callers ask a version who send no classes."""
    own = exam["own"]
    known = {name.lower() for name in own["classes"]}
    more = [name for name in version["classes"] if name.lower() not in known]
    return {**own, "classes": [*own["classes"], *more]}


def answers_on(evidence: Evidence, about: Json, now: Json, exam: Json, before: Json) -> list[Row]:
    """The answers about each image, or each caption, that are right now, and before."""
    said = tuple(about.get(name) for name in ("kind", "asked", "own_prompts", "depth"))
    key = id(exam), now["digest"], before["digest"], *said
    if key not in evidence.rows:
        evidence.rows[key] = exam, _rows(evidence, about, now, exam, before)
    return evidence.rows[key][1]


def _rows(evidence: Evidence, about: Json, now: Json, exam: Json, before: Json) -> list[Row]:
    kind, asked, given = about["kind"], about["asked"], []
    for who in (now, before):
        query = default(exam, who) if asked == "default" else asked_of(exam, asked)
        prompt = {"prompt": who["prompt"]} if about["own_prompts"] else {}
        given.append((who, {**query, **prompt}))
    groups = [(oldest or pixels, born) for pixels, oldest, born, *_ in query["entries"]]
    if kind == "text_to_image":
        texts = [texts for _, _, _, *texts in query["entries"]]
        groups = [group for group, own in zip(groups, texts, strict=True) for _ in own]
    if kind in DIRECTIONS:
        both = zip(*(evidence.found(who, exam, about) for who in (now, before)), strict=True)
        each = [texts for _, _, _, *texts in query["entries"]]
        every = [text for texts in each for text in {*texts}]
        told = [max(texts, key=every.count) for texts in each]
        if kind == "text_to_image":
            told = [what for what, texts in zip(told, each, strict=True) for _ in texts]
        return [
            (new, old, group, born, text, None)
            for (new, old), (group, born), text in zip(both, groups, told, strict=True)
        ]
    labels = [evidence.meaning(label) for *_, label in query["entries"]]
    hits = (evidence.right(who, its, kind) for who, its in given)
    soft = [evidence.soft(who, its, kind) for who, its in given]
    rows: list[Row] = []
    for place, (new, old, (group, born)) in enumerate(zip(*hits, groups, strict=True)):
        change = None
        if soft[0] is not None and soft[1] is not None:
            change = (new - old) / 2 + (soft[0][place] - soft[1][place]) / query["views"] / 2
        rows.append((new, old, group, born, labels[place], change))
    return rows


def first_ones(query: Json, *, each_class: bool, newest: bool = False) -> list[int]:
    """The places of the images that count: of each group, or class in it, the one that came first.

    Of several in an edition it is no copy of an older one, or has the smallest digest. With
    `newest`, the one that came last.
    """
    best: dict[tuple[str, str], tuple[int, bool, str, int]] = {}
    for place, (pixels, oldest, born, *texts) in enumerate(query["entries"]):
        key = oldest or pixels, texts[0].lower() if each_class else ""
        this = born, oldest is not None, pixels, place
        best[key] = (max if newest else min)(best.get(key, this), this)
    return sorted(place for *_, place in best.values())


def taught_since(evidence: Evidence, before: Json) -> set[str]:
    """The classes of which updates since a version held out images, of which more are right now.

    A version that has not answered about these is compared by the root.
    """
    plan, gained = evidence.plan, dict[str, int]()
    known = {one["number"]: one for one in (plan["root"], plan["parent"], *plan["teachers"])}

    def line(at: Json | None) -> Iterator[Json]:
        if at is not None:
            yield at
            yield from line(known.get(at["parent"]))

    theirs = [one["number"] for one in line(before)]
    since = [one["number"] for one in line(plan["candidate"]) if one["number"] not in theirs]
    for query in (h["exam"]["own"] for h in plan["holdouts"] if h["learner"]["number"] in since):
        known_there = (before["digest"], name_of(query)) in evidence.said
        then = evidence.right(before if known_there else plan["root"], query, "holdout")
        now = evidence.right(plan["candidate"], query, "holdout")
        for (*_, label), new, old in zip(query["entries"], now, then, strict=True):
            gained[evidence.meaning(label)] = gained.get(evidence.meaning(label), 0) + new - old
    return {name for name, more in gained.items() if more > 0}


def paired(evidence: Evidence, about: Json, now: Json, *, others: bool = False) -> list[Row]:
    """The answers that are right now, and before: one for each group, with its captions.

    The gain in captions has those of both directions.

    Each earlier holdout has one for each class of a group, which is lost, kept or gained, in this
    order, if it is by any of these, or by those beside the oldest version before. With `others`,
    only those count that show a class which no update since the version before has improved.
    """
    if about["kind"] == "gain" and "among" in about["pairs"][0][0]:
        return [row for way in DIRECTIONS for row in paired(evidence, {**about, "kind": way}, now)]
    earlier = about["kind"] in {"holdout", "holdouts"}
    found: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for exam, version in about["pairs"]:
        rows = answers_on(evidence, about, now, exam, version)
        query = asked_of(exam, about["asked"])
        if others:
            taught = taught_since(evidence, version)
            labels = [evidence.meaning(label) for *_, label in query["entries"]]
            rows = [row for row, label in zip(rows, labels, strict=True) if label not in taught]
            shown = zip(query["entries"], labels, strict=True)
            query = {**query, "entries": [one for one, label in shown if label not in taught]}
        counted = {*first_ones(query, each_class=earlier)}
        if about["kind"] == "text_to_image":
            told = [
                (place, text)
                for place, (_, _, _, *texts) in enumerate(query["entries"])
                for text in texts
            ]
        else:
            told = [(place, "") for place in range(len(query["entries"]))]
        if len(about["pairs"]) > 1 and about["kind"] == "text_to_image":
            few = fewest(about)
            told = [(place, numbered(query, place, text, few)) for place, text in told]
        for (place, text), row in zip(told, rows, strict=True):
            if place in counted and text is not None:
                found.setdefault((row[2], text), []).append((version["number"], row))
    oldest = [
        [row for number, row in rows if number == min(one for one, _ in rows)]
        for rows in found.values()
    ]
    return [min(rows[::-1], key=tells) for rows in oldest]


def fewest(about: Json) -> int:
    """The number of captions of the image that has fewest, of those that count."""
    queries = [exam["own"] for exam, _ in about["pairs"]]
    counted = [(one, at) for one in queries for at in first_ones(one, each_class=False)]
    return min(len({*query["entries"][at][3:]}) for query, at in counted)


def numbered(query: Json, place: int, text: str, few: int) -> str | None:
    """The number of a caption among the first few of its image, by their SHA-256; None beyond."""
    hashed = hashlib.sha256(text.encode()).hexdigest()
    others = {hashlib.sha256(one.encode()).hexdigest() for one in query["entries"][place][3:]}
    number = sum(other < hashed for other in others)
    return f"{number}" if number < few else None


def tells(row: "Row | ClassRow") -> int:
    """The answer that counts of an image taught several times: lost, kept, gained, or neither."""
    return [(False, True), (True, True), (True, False), (False, False)].index(row[:2])


def on_every_image(evidence: Evidence, about: Json, errors: float) -> float:
    """The change over all images, if some are near-duplicates, which count once otherwise.

    Or what is so many standard errors above that of an older edition, each group flipping together.
    Of classes it is one for each image and class, of captions one for each search.
    """
    gain_in_captions = about["kind"] == "gain" and "among" in about["pairs"][0][0]
    of_captions = gain_in_captions or about["kind"] in DIRECTIONS
    candidate, given = evidence.plan["candidate"], list[tuple[Any, Row]]()
    for way in DIRECTIONS if gain_in_captions else (about["kind"],):
        for number, (exam, version) in enumerate(about["pairs"]):
            rows = answers_on(evidence, {**about, "kind": way}, candidate, exam, version)
            keys: list[Any] = [(way, number, place) for place in range(len(rows))]
            if not of_captions:
                keys = [(one[0], one[-1].lower()) for one in exam["own"]["entries"]]
            given += zip(keys, rows, strict=True)
    worst, newest = inf, max(row[3] for _, row in given)
    for edition in {row[3] for _, row in given}:
        some = {key: row for key, row in given if row[3] <= edition}
        pictures = {
            one[0]
            for exam, _ in about["pairs"]
            for one in exam["own"]["entries"]
            if one[2] <= edition
        }
        groups: dict[str, int] = {}
        for row in some.values():
            groups[row[2]] = groups.get(row[2], 0) + row[0] - row[1]
        if (len(pictures) if of_captions else len(some)) > len(groups):
            error = 0.0 if edition == newest else errors
            spread = sqrt(sum(change**2 for change in groups.values()))
            worst = min(worst, (sum(groups.values()) + error * spread) / len(some))
    return worst


def sampled(evidence: Evidence, about: Json, other: Json) -> tuple[int, int, int, list[Any], float]:
    """Images, disagreements, how many of the first count, these that show a class, and a share.

    Those count that have labels without a gap: all, or half of them, a quarter and so on.
    """
    exam = about["pairs"][0][0]
    query, candidate = exam[about["asked"]], evidence.plan["candidate"]
    names = [evidence.meaning(name) for name in query["classes"]] + [None]
    pixels = [row[0] for row in query["entries"]]
    shown = {name.lower() for name in exam["own"]["classes"]}
    labels = {
        row[0]: evidence.meaning(row[-1]) if row[-1].lower() in shown else ""
        for row in exam["labels"]
    }
    given = [
        (who, {**query, "prompt": who["prompt"]} if about["own_prompts"] else query)
        for who in (candidate, other)
    ]
    said = [evidence.answers(who, its)["predicted"] for who, its in given]
    apart = [
        (one, names[new], names[old])
        for one, new, old in zip(pixels, *said, strict=True)
        if names[new] != names[old]
    ]
    hits = [(labels.get(one), new, old) for one, new, old in apart]
    gap = next((n for n, (truth, *_) in enumerate(hits) if truth is None), len(hits))
    images, total, least = len(pixels), len(apart), evidence.policy["minimum_count"]
    sizes = [total]
    while (half := -(-sizes[-1] // 2)) < sizes[-1] and half * images >= min(least, images) * total:
        sizes.append(half)
    for n, size in enumerate(sizes):
        rows = [(new == truth, old == truth) for truth, new, old in hits[:size] if truth]
        if size <= gap and (n == 0 or len(rows) * images >= least * total):
            share = 2.0 ** -min(n + 1, len(sizes) - 1)
            return images, total, size, rows, share
    return images, total, -1, [], 1.0


# Right now, right before, what the live version had, the edition, and the number of the exam.
ClassRow = tuple[bool, bool, bool, int, int]


def by_class(evidence: Evidence, one: Json) -> dict[tuple[str, int | None], list[ClassRow]]:
    """The images of each class, and those of an earlier edition that had fewer of the class.

    Of several suites or holdouts, the classes of which more than one has an image.
    """
    classes: dict[str, dict[str, list[ClassRow]]] = {}
    for number, (exam, version) in enumerate(one["pairs"]):
        query = asked_of(exam, one["asked"])
        rows = at_live = answers_on(evidence, one, evidence.plan["candidate"], exam, version)
        if one["live"] is not None:
            at_live = answers_on(evidence, one, evidence.plan["live"], exam, version)
        for place in first_ones(query, each_class=True):
            now, before, group, born, *_ = rows[place]
            of_class = classes.setdefault(evidence.meaning(query["entries"][place][-1]), {})
            row = now, before, at_live[place][0], born, number
            of_class.setdefault(group, []).append(row)
    found: dict[tuple[str, int | None], list[ClassRow]] = {}
    for label, each in classes.items():
        exams = {number for rows in each.values() for *_, number in rows}
        if len(one["pairs"]) > 1 and len(exams) < 2:
            continue
        found[label, None] = whole = [min(rows[::-1], key=tells) for rows in each.values()]
        for edition in {born for *_, born, _ in whole}:
            some = [row for row in whole if row[3] <= edition]
            if len(some) < len(whole):
                found[label, edition] = some
    return found
