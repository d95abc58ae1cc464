"""The gate's verdict, computed a second time from evidence alone.

This package uses no rule of `core`, so that a formula which is changed there is found out. Sources:
docs/gate.md, ADR 12, 21 and 41; Tango (1998), Laud (2017), Obuchowski (1998), Holm (1979).
"""

from collections.abc import Sequence
from math import inf
from typing import Any

import pytest

from tests.support.second_gate.answers import by_class, taught_since
from tests.support.second_gate.bounds import only_fails
from tests.support.second_gate.classes import joined_losing
from tests.support.second_gate.comparisons import GALLERY, measures
from tests.support.second_gate.evidence import Evidence, Json
from tests.support.second_gate.formulas import class_p

SAME = pytest.approx
SUITES = ("zero_shot", "unlabelled", "retrieval")


def others_gain(changes: Sequence[int], own: int) -> bool:
    """True if the other images of a class show a gain: at least the root of their flips."""
    gain, flips = sum(changes) - own, sum(map(abs, changes)) - abs(own)
    return gain > 0 and gain**2 >= flips


def verdict(evidence: Evidence) -> tuple[str, list[dict[str, Any]]]:
    """The verdict, and the measures with their outcomes."""
    found, alpha = list(measures(evidence)), evidence.policy["alpha"]
    newer = [
        one
        for one in found
        if (one["kind"], one["asked"], one["flips"]) == ("zero_shot", "union", False)
        and not {"labels", "among"} & one["pairs"][0][0].keys()
    ]
    for members, joined in some_together(evidence, [*asked_class_by_class(found), *newer]):
        place, lose = joined_losing(evidence, joined)
        first = members[place]
        if lose is not None and lose["at_most"] < (first["losing"] or {"at_most": inf})["at_most"]:
            first["losing"], first["lower"] = lose, min(first["lower"], lose["at_most"])
    family = [*found]
    for one in found:
        if others := one.get("untaught"):
            family.append({"p": others["p"], "of": one, "inherited": others["inherited"]})
    ordered = sorted(family, key=lambda one: one["p"])
    below = []
    for left, one in zip(range(len(ordered), 0, -1), ordered, strict=True):
        if one["p"] >= alpha / left:  # Holm's step-down ends
            break
        below.append(one)
    for one in found:
        beyond = one["live"] is not None and one["live"] < -one["tolerance"]
        holds = one["lower"] >= -one["tolerance"] and one["held_back_by"] is None
        holds = holds and not one.get("held_back_by_others", False)
        holds = holds or (only_fails(one) and not beyond)
        failing = any(one is other for other in below) and not beyond
        failing |= any(other.get("of") is one and not other["inherited"] for other in below)
        one["outcome"] = "fails" if failing else "holds" if holds else "open"
    kept = [one for one in found if one["kind"] != "gain"]
    least = evidence.policy["minimum_count"]
    showing = [
        one
        for one in kept
        if one["shown"] and one["asked"] == "own" and one["depth"] == 1 and replaced(evidence, one)
    ]
    guarded = any(
        one["distinct"] >= least and not one["pooled"] and one.get("labelled", True)
        for one in showing
    )
    images: dict[str, list[int]] = {
        exam["name"]: [] for kind in SUITES for exam in evidence.plan[kind]
    }
    for one in showing:
        if one["name"][0] in images:
            images[one["name"][0]].append(one["distinct"])
    counted: set[str] = set()
    by_suites, uncounted = 0, {}
    improved = taught_since(evidence, evidence.plan["root"])
    first = {name.lower() for name in evidence.plan["root"]["classes"]}
    learned = {
        evidence.meaning(name)
        for name in evidence.plan["candidate"]["classes"]
        if name.lower() not in first
    }
    for exam in (exam for kind in SUITES for exam in evidence.plan[kind] if images[exam["name"]]):
        groups = {oldest or pixels for pixels, oldest, *_ in exam["own"]["entries"]}
        asking, known = groups - counted, groups
        if exam in evidence.plan["zero_shot"]:
            now, then, known_there = (
                evidence.right(evidence.plan[who], exam["own"], "zero_shot")
                for who in ("candidate", "root", "parent")
            )
            entries = [*zip(exam["own"]["entries"], now, then, known_there, strict=True)]
            known = {oldest or pixels for (pixels, oldest, *_), _, *knew in entries if any(knew)}
            changes: dict[str, list[int]] = {}
            for entry, new, old, _ in entries:
                changes.setdefault(evidence.meaning(entry[-1]), []).append(new - old)
            asking &= {
                entry[1] or entry[0]
                for entry, new, old, _ in entries
                for name in [evidence.meaning(entry[-1])]
                if name not in improved
                and not (
                    (evidence.plan["captioned"] or name in learned)
                    and others_gain(changes[name], new - old)
                )
            }
        limited = any(one["tolerance"] < 1 for one in showing if one["name"] == [exam["name"]])
        most = 2 * len(asking & known) if limited else len(asking)
        uncounted[exam["name"]] = len(groups) - min(len(asking), most)
        by_suites += max(0, min(images[exam["name"]]) - uncounted[exam["name"]])
        counted |= asking
    for one in found:
        one["uncounted"] = uncounted.get(one["name"][0], 0) if one["kind"] in SUITES else 0
    guarded = guarded and 10 * by_suites >= least
    beside = {(evidence.plan["live"] or {}).get("number"), evidence.plan["parent"]["number"]}
    stands = not beside.isdisjoint(evidence.facts["failed_before"])
    if (
        stands
        or useless(evidence)
        or False in lost_classes(evidence, found).values()
        or any(one["outcome"] == "fails" for one in found)
    ):
        return "failed", found
    passed = guarded and len(kept) < len(found) and {one["outcome"] for one in found} == {"holds"}
    passed = passed and not lost_classes(evidence, found)
    passed = passed and not evidence.to_label
    return "passed" if passed else "inconclusive", found


def replaced(evidence: Evidence, one: Json) -> bool:
    """True if it compares with what goes, on what that knows; with a live parent, anything does."""
    plan = evidence.plan
    if plan["live"] is None or plan["live"]["digest"] == plan["parent"]["digest"]:
        return True
    suites = {exam["name"] for kind in SUITES for exam in plan[kind]}
    learned = suites | {
        other["exam"]["name"].removesuffix(GALLERY)
        for kind in ("holdouts", "live_holdouts", "captioned", "live_captioned")
        for other in plan[kind]
        if other["learner"]["number"] in plan["live_lineage"]
    }
    known = all(name.removesuffix(GALLERY) in learned for name in one["name"])
    return known and bool({"live version", "root"} & {*one["baseline"].split(" and ")})


def of_this_line(evidence: Evidence, one: Json, least: int = 2) -> bool:
    """True if holdouts are together that the live version has not learned and it compares with."""
    plan, names = evidence.plan, {name.removesuffix(GALLERY) for name in one["name"]}
    learned = {
        other["exam"]["name"]
        for kind in ("holdouts", "live_holdouts", "captioned", "live_captioned")
        for other in plan[kind]
        if other["learner"]["number"] in plan["live_lineage"]
    }
    several = len(names) >= least
    return several and one["baseline"] == "live version" and not names & learned


def lost_classes(evidence: Evidence, found: Sequence[Json]) -> dict[tuple[Any, ...], bool]:
    """The classes that have lost too much, each with where, and whether the live one has, too."""
    limit, alpha = evidence.policy["class_tolerance"], evidence.policy["alpha"]
    if limit is None:
        return {}
    every: list[tuple[float, tuple[str, ...], bool, tuple[Any, ...]]] = []
    for one in with_some_together(evidence, asked_class_by_class(found)):
        exams = tuple(exam["name"] for exam, _ in one["pairs"])
        name = exams[0] if len(exams) == 1 else f"{len(exams)} updates"
        if one["kind"] == "zero_shot" and len(exams) > 1:
            name = f"{len(exams)} suites"
        for (label, edition), each in by_class(evidence, one).items():
            pairs = [row[:2] for row in each]
            gained = sum(now > before for now, before in pairs)
            lost = sum(now < before for now, before in pairs)
            net = sum(before - standing for _, before, standing, *_ in each)
            inherited = one["live"] is not None and net > limit * len(pairs)
            what = (label, name, one["asked"], one["baseline"], one["own_prompts"], edition)
            p = class_p(len(pairs), gained, lost, limit)
            every.append((p, (one["kind"], *exams), inherited, what))
    weights = {of: 1 / sum(of == other for _, other, *_ in every) for _, of, *_ in every}
    every.sort(key=lambda one: one[0] / weights[one[1]])
    significant = {}
    for n, (p, of, inherited, name) in enumerate(every):
        if p >= alpha * weights[of] / sum(weights[other] for _, other, *_ in every[n:]):
            break
        significant[name] = inherited
    return significant


def asked_class_by_class(found: Sequence[Json]) -> list[Json]:
    """The measures of which each class is judged: not of captions, nor with suites' classes."""
    kinds = {"holdout", "holdouts"}
    return [
        one
        for one in found
        if one["kind"] in {"zero_shot", "gain", *kinds}
        and not one["flips"]
        and (
            one["asked"] in {"own", "learned"} or (one["kind"] in kinds and one["asked"] == "union")
        )
        and not (one["kind"] == "holdouts" and one["pooled"])
        and not {"labels", "among"} & one["pairs"][0][0].keys()  # unlabelled, or captions
    ]


def with_some_together(evidence: Evidence, found: Sequence[Json]) -> list[Json]:
    """The measures, and those of several suites or holdouts as one, unless they are among them."""
    keys = "pairs", "asked", "own_prompts", "kind"
    there = [[one[key] for key in keys] for one in found]
    joined = [one for _, one in some_together(evidence, found)]
    return [*found, *(one for one in joined if [one[key] for key in keys] not in there)]


def some_together(evidence: Evidence, found: Sequence[Json]) -> list[tuple[list[Json], Json]]:
    """Those of suites against the same version, and as one.

    So are those of earlier holdouts, against the parent and against the live version.
    """
    alike: dict[tuple[Any, ...], list[tuple[Json, Json]]] = {}
    own = f"version {evidence.plan['candidate']['number']}"
    for one in found:
        roles = [*{"parent", "live version"} & {*one["baseline"].split(" and ")}]
        if one["kind"] == "zero_shot":
            same = one["baseline"], one["pairs"][0][1]["number"], one["asked"], one["own_prompts"]
            alike.setdefault(same, []).append((one, one))
        elif one["kind"] == "holdout" and roles and own not in one["name"]:
            beside = {"kind": "holdouts", "baseline": roles[0], "live": None, "pooled": False}
            unknown = roles == ["live version"] and of_this_line(evidence, {**one, **beside}, 0)
            what = roles[0], unknown, one["asked"], one["own_prompts"]
            alike.setdefault(what, []).append((one, {**one, **beside}))
    return [
        (
            [one for one, _ in each],
            {**each[0][1], "pairs": [pair for _, one in each for pair in one["pairs"]]},
        )
        for each in alike.values()
        if len(each) > 1
    ]


def useless(evidence: Evidence) -> bool:
    """True if an answer of the candidate is of no class or rank, because its scores are NaN."""
    plan = evidence.plan
    exams = [*plan["zero_shot"], *plan["unlabelled"], *(one["exam"] for one in plan["holdouts"])]
    exams += [one["exam"] for one in plan["live_holdouts"]]
    queries = [query for exam in exams for query in (exam["own"], exam["union"])]
    queries += [
        one["exam"]["with_suites"]
        for one in (*plan["holdouts"], *plan["live_holdouts"])
        if one["learner"]["digest"] != plan["candidate"]["digest"]
    ]
    return any(
        max(evidence.answers(plan["candidate"], query)["predicted"]) == len(query["classes"])
        for query in queries
    )


def agrees(file: bytes) -> str:
    """The verdict of a file's report, which has every measure, each number and outcome as here."""
    evidence = Evidence(file)
    stated = {
        (
            one["kind"],
            one["asked"],
            one["baseline"],
            one["own_prompts"],
            one["baseline_version"] if one["baseline"] == "settled version" else None,
            one["name"],
            one["formerly_right"],
            one["depth"],
        ): one
        for one in evidence.report["measures"]
    }
    given, found = verdict(evidence)
    where = ("class_name", "name", "asked", "baseline", "own_prompts", "edition")
    stated_lost = [
        one
        | {
            "class_name": evidence.meaning(one["class_name"]),
            "name": one["name"].split(" of ")[0].removesuffix(" (large ones included)"),
        }
        for one in evidence.report["lost_classes"]
    ]
    assert {tuple(one[key] for key in where) for one in stated_lost} == {
        *lost_classes(evidence, found)
    }
    assert len(found) == len(evidence.report["measures"]) == len(stated)
    for one in found:
        names = one["name"]
        numbers = {version["number"] for _, version in one["pairs"]}
        settled = numbers.pop() if len(numbers) == 1 else None
        before = settled if one["baseline"] == "settled version" else None
        key = (one["kind"], one["asked"], one["baseline"], one["own_prompts"], before)
        (told,) = [
            value
            for (*same, name, flips, depth), value in stated.items()
            if tuple(same) == key
            and name.removesuffix(GALLERY).endswith(" of this line") is of_this_line(evidence, one)
            and flips is one["flips"]
            and depth == one["depth"]
            and (
                name.startswith((f"{len(names)} updates", f"{len(names)} captioned updates"))
                and name.endswith(GALLERY) is names[0].endswith(GALLERY)
                if len(names) > 1
                else name == names[0]
            )
        ]
        if one["kind"] != "gain" and one["name"] != [f"version {evidence.report['version']}"]:
            assert told["may_guard"] == replaced(evidence, one), key
        for field in ("distinct", "count", "gained", "lost", "outcome", "pooled", "held_back_by"):
            assert told[field] == one[field], (key, field, told[field], one[field])
        for field in ("tolerance", "design_effect", "lower", "interval_lower", "upper"):
            same = SAME(one[field], abs=1e-9, rel=1e-9)
            assert told[field] == same, (key, field, told[field], one[field])
        assert told["uncounted"] == one["uncounted"], key
        assert told["held_back_by_others"] == one.get("held_back_by_others", False), key
        for others in ("untaught", "ungained"):
            assert (told[others] is None) == (one.get(others) is None), (key, others)
            for field in ("distinct", "count", "gained", "lost", "design_effect"):
                if told[others] is not None:
                    assert told[others][field] == SAME(one[others][field]), (key, others, field)
        assert (told["losing"] is None) == (one.get("losing") is None), key
        if lose := {**(one.get("losing") or {})}:
            names = lose.pop("names")
            assert {evidence.meaning(name) for name in told["losing"]["names"]} <= names, key
            assert len(told["losing"]["names"]) == min(3, told["losing"]["classes"]), key
            assert told["losing"]["classes"] == len(names), key
            for field, value in lose.items():
                assert told["losing"][field] == SAME(value, abs=1e-9), (key, field)
        assert told["live_difference"] == (None if one["live"] is None else SAME(one["live"]))
        assert told["level"] == (None if one["level"] is None else SAME(one["level"]))
    assert evidence.report["verdict"] == given
    return given
