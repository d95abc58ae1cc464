"""All that is compared, with which version, and the loss that is allowed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from tests.support.second_gate.answers import default
from tests.support.second_gate.bounds import measured
from tests.support.second_gate.evidence import (
    DIRECTIONS,
    Evidence,
    Json,
    choices,
    distinct,
    gallery_of,
    name_of,
)

GALLERY = ", own gallery"


def measures(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """All that is compared: suites, each earlier holdout, these together, and the gain."""
    plan = evidence.plan
    live, candidate = plan["live"], plan["candidate"]
    versions = {"parent": plan["parent"], "live version": live, "root": plan["root"]}
    there = {role: one for role, one in versions.items() if one is not None}
    classes = [*plan["zero_shot"], *plan["unlabelled"]]
    for kind, suites in (("zero_shot", classes), ("captions", plan["retrieval"])):
        for one in suites:
            roles = {role: [(one, version)] for role, version in there.items()}
            asked = ["own", "union"]
            if kind == "zero_shot" and "labels" not in one:
                yield from by_default(evidence, one, there)
            kinds = product(DIRECTIONS, (1, 5)) if kind == "captions" else [(kind, 1)]
            for each, depth in kinds:
                yield from of_roles(evidence, each, roles, lists=asked, depth=depth)
                if "labels" not in one:
                    for earlier in between(plan, one["name"]):
                        settled = {"settled version": [(one, earlier)]}
                        found = of_roles(evidence, each, settled, lists=("own",), depth=depth)
                        yield from (it for it in found if not it["own_prompts"])
    own = [one for one in plan["holdouts"] if one["learner"]["digest"] == candidate["digest"]]
    earlier = [one for one in plan["holdouts"] if one not in own]
    kept = earlier + plan["live_holdouts"]

    def pairs(some: Sequence[Json], asked: str) -> dict[str, list[tuple[Json, Json]]]:
        known = plan["live_lineage"]
        return {
            "parent": [(h["exam"], plan["parent"]) for h in some if h in earlier],
            "live version": [
                (h["exam"], live)
                for h in some
                if live and (asked != "default" or h["learner"]["number"] in known)
            ],
            "settled version": [(h["common"], h["settled"]) for h in some if h["common"]],
            "anchor": [(h["exam"], h["anchor"]) for h in some if h["anchor"]],
        }

    least = evidence.policy["minimum_count"]
    lists = ("own", "union", "with_suites", "default")

    known = {h["exam"]["name"] for h in kept if h["learner"]["number"] in plan["live_lineage"]}

    def small(most: int, *, learned: bool) -> dict[str, dict[str, list[tuple[Json, Json]]]]:
        """Those together that live has learned, or, against it alone, those that it has not."""
        together: dict[str, dict[str, list[tuple[Json, Json]]]] = {asked: {} for asked in lists}
        for asked in lists:
            for role, found in pairs(kept, asked).items():
                longest = "union" if asked == "default" else asked
                few = [
                    p
                    for p in found
                    if distinct(p[0]) < most and choices(evidence, p[0][longest]) > 1
                    if role != "live version" or (p[0]["name"] in known) is learned
                ]
                if learned or role == "live version":
                    together[asked][role] = few
        return together

    pools = [small(least, learned=True), small(least, learned=False)]
    for one in kept:
        for asked in lists:
            own_pairs = pairs([one], asked)
            among = {
                (asked, role)
                for together in pools
                for role, found in together[asked].items()
                if len(found) > 1 or together is pools[1]  # mildly, what live has not learned
                if own_pairs[role] and all(p in found for p in own_pairs[role])
            }
            yield from of_roles(evidence, "holdout", own_pairs, among, lists=(asked,))
    for larger, learned in zip(pools, (True, False), strict=True):
        before = {asked: several(roles) for asked, roles in larger.items()}
        for asked, roles in before.items():
            yield from of_roles(evidence, "holdouts", roles, lists=(asked,))
        for most in (min(88, least), min(22, least)):  # the smallest among them can only fail
            smallest = {asked: several(p) for asked, p in small(most, learned=learned).items()}
            for asked, roles in smallest.items():
                apart = {role: p for role, p in roles.items() if p != before[asked].get(role)}
                within = {(asked, role) for role in apart}
                yield from of_roles(evidence, "holdouts", apart, within, lists=(asked,))
            before = smallest
    yield from of_captions(evidence)
    own += [one for one in plan["captioned"] if one["learner"]["digest"] == candidate["digest"]]
    if live is not None and live["digest"] != plan["parent"]["digest"]:
        for one in own:
            beside = {"live version": [(one["exam"], live)]}
            among = {("own", "live version")}
            ways = product(DIRECTIONS, (1, 5)) if "among" in one["exam"] else [("holdout", 1)]
            for kind, depth in ways:
                yield from of_roles(evidence, kind, beside, among, lists=("own",), depth=depth)
    for one in own:
        there = {"parent": plan["parent"], "live version": live}
        roles = {role: [(one["exam"], version)] for role, version in there.items() if version}
        for kind, depth in product(DIRECTIONS, (1, 5)) if "among" in one["exam"] else ():
            among = {("union", role) for role in roles}
            yield from of_roles(evidence, kind, roles, among, lists=("union",), depth=depth)
    for one in own:
        for depth in (1, 5) if "among" in one["exam"] else (1,):
            roles = {"parent": [(one["exam"], plan["parent"])]}
            yield from of_roles(evidence, "gain", roles, depth=depth)


def by_default(evidence: Evidence, suite: Json, there: Mapping[str, Json]) -> Iterator[Json]:
    """A suite's images of what a version has learned, each version over what it has learned."""
    roles = {}
    for role, version in there.items():
        if role != "root" and (exam := shown_to(evidence, suite, version)) is not None:
            roles[role] = [(exam, version)]
    yield from of_roles(evidence, "zero_shot", roles, lists=("default",))
    others = {
        role: pairs
        for role, pairs in roles.items()
        if name_of(pairs[0][0]["learned"]) != name_of(suite["union"])
    }
    within = {("learned", role) for role in others}
    yield from of_roles(evidence, "zero_shot", others, within, lists=("learned",))
    within = {("learned", "settled version")}
    for version in settled_with_weights(evidence.plan):
        if (exam := shown_to(evidence, suite, version)) is not None:
            alone = {"settled version": [(exam, version)]}
            if name_of(exam["learned"]) != name_of(suite["union"]):
                yield from of_roles(evidence, "zero_shot", alone, within, lists=("learned",))


def shown_to(evidence: Evidence, suite: Json, version: Json) -> Json | None:
    """A suite's images of what a version has learned; None if there are none."""
    learned = {evidence.meaning(name) for name in version["classes"]}
    shown = [one for one in suite["own"]["entries"] if evidence.meaning(one[-1]) in learned]
    if not shown:
        return None
    own = {**suite["own"], "entries": shown, "classes": version["classes"]}
    union = default({"own": own}, evidence.plan["candidate"])
    exam = {"name": suite["name"], "suite": suite["own"], "own": own, "union": union}
    return {**exam, "learned": union}


def settled_with_weights(plan: Json) -> list[Json]:
    """The versions of the line that went live by passing and answer lists of the candidate."""
    known = [plan[role]["digest"] for role in ("candidate", "parent", "live") if plan[role]]
    anchors = {h["anchor"]["number"]: h["anchor"] for h in plan["holdouts"] if h["anchor"]}
    return [
        anchors[number]
        for number in sorted(anchors)
        if number in plan["settled_before"] and anchors[number]["digest"] not in known
    ]


def between(plan: Json, suite: str) -> list[Json]:
    """The earlier versions that went live by passing, with which a suite is compared, too."""
    roles = [plan["candidate"], plan["parent"], plan["root"], plan["live"] or plan["root"]]
    there = [one["digest"] for one in roles]
    found = [*plan["settled"].get(suite, []), *plan["live_settled"].get(suite, [])]
    return [one for one in found if one["digest"] not in there]


def of_captions(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """The holdouts of other updates of captions, and the small ones together.

    Small ones are searched for among all captioned images, and once more among their own.
    """
    plan, live, least = evidence.plan, evidence.plan["live"], evidence.policy["minimum_count"]
    candidate = plan["candidate"]["digest"]
    earlier = [one for one in plan["captioned"] if one["learner"]["digest"] != candidate]
    for own_gallery in (False, True):
        sizes = (least, min(88, least), min(22, least))
        pools: list[list[dict[str, list[tuple[Json, Json]]]]] = [
            [{} for _ in sizes] for _ in (True, False)
        ]
        each: list[dict[str, list[tuple[Json, Json]]]] = []
        for one in earlier + plan["live_captioned"]:
            exam = one["exam"]
            if own_gallery and not exam["among"]:
                continue  # it had no other
            if own_gallery:
                exam = {**exam, "name": exam["name"] + GALLERY, "among": None, "union": None}
            there = {"live version": live, "settled version": one["settled"]}
            if one in earlier:
                there = {"parent": plan["parent"], **there}
            now = {role: version["digest"] for role, version in there.items() if version}
            replaced = [now[name] for name in ("parent", "live version") if name in now]
            if exam["among"] and now.get("settled version") not in replaced:
                there["settled version"] = None  # it has answered about the holdout alone
            roles = {role: [(exam, version)] for role, version in there.items() if version}
            texts = {text for row in gallery_of(exam, "own")["entries"] for text in row[3:]}
            if distinct(exam) < least and len(texts) > 1:
                unknown = one["learner"]["number"] not in plan["live_lineage"]
                for role, pairs in roles.items():
                    its = pools[unknown and role == "live version"]
                    for most, fewer in zip(sizes, its, strict=True):
                        fewer.setdefault(role, []).extend(pairs if distinct(exam) < most else [])
            each.append(roles)
        for kind, depth in product(DIRECTIONS, (1, 5)):
            for roles in each:
                inside = {
                    (asked, role)
                    for asked in ("own", "union")
                    for its in pools
                    for role, pairs in roles.items()
                    if len(its[0].get(role, [])) > 1 or its is pools[1]
                    if all(one in its[0].get(role, []) for one in pairs)
                }
                yield from of_roles(evidence, kind, roles, inside, depth=depth)
            for larger, *tiny in pools:
                before = several(larger)
                yield from of_roles(evidence, kind, before, depth=depth)
                for fewer in tiny if depth == 1 else ():  # these can only fail
                    smallest = several(fewer)
                    apart = {role: p for role, p in smallest.items() if p != before.get(role)}
                    within = {(asked, role) for asked in ("own", "union") for role in apart}
                    yield from of_roles(evidence, kind, apart, within)
                    before = smallest


def several(roles: Mapping[str, list[tuple[Json, Json]]]) -> dict[str, list[tuple[Json, Json]]]:
    """The roles in which there is more than one to judge together."""
    return {role: pairs for role, pairs in roles.items() if len(pairs) > 1}


def tolerance(policy: Json, kind: str, asked: str, role: str, depth: int) -> float | None:
    """The loss that is allowed; None if that is not compared."""
    if kind == "gain":
        return -policy["wanted_gain"] if asked == "own" else None
    of_holdouts = kind in {"holdout", "holdouts"}
    if asked == "default":
        judged = role in {"parent", "live version"} and (of_holdouts or kind == "zero_shot")
        return policy["default_list_tolerance"] if judged else None
    if asked == "learned":
        if kind != "zero_shot" or role not in {"parent", "live version", "settled version"}:
            return None
        in_all = max(policy["union_tolerance"], policy["swallow_tolerance"])
        return in_all if role == "settled version" else policy["union_tolerance"]
    if asked == "with_suites" and not of_holdouts:
        return None
    if asked == "with_suites":
        if role == "settled version":
            return None
        same = "swallow_tolerance" if role == "anchor" else "holdout_tolerance"
        return max(policy["union_tolerance"], policy[same])
    if of_holdouts:
        if role == "anchor":  # the settled version that answers the candidate's list
            return policy["swallow_tolerance"] if asked == "union" else None
        if role == "settled version":
            return policy["settled_tolerance"] if asked == "own" else None
        return policy["holdout_tolerance"]
    if asked == "union":
        if kind not in {"zero_shot", *DIRECTIONS} or role == "settled version":
            return None
        wide = max(policy["union_tolerance"], policy["root_tolerance"])
        return wide if role == "root" else policy["union_tolerance"]
    if role == "settled version":
        return max(policy["settled_tolerance"], policy["root_tolerance"])
    return policy["root_tolerance" if role == "root" else "parent_tolerance"]


def longer_than(exam: Json, shorter: str, asked: str) -> bool:
    """True if a list of classes, or a gallery, adds to a shorter one."""
    if "among" in exam:
        return gallery_of(exam, asked) != gallery_of(exam, shorter)
    return bool(exam.get(asked) != exam.get(shorter))


def of_roles(
    evidence: Evidence,
    kind: str,
    roles: Mapping[str, Sequence[tuple[Json, Json]]],
    together: set[tuple[str, str]] = set(),  # noqa: B006
    lists: Sequence[str] = ("own", "union", "with_suites", "default"),
    depth: int = 1,
) -> Iterator[dict[str, Any]]:
    """The measures on some images against each role; roles of one version are one baseline."""
    shorter = {"own": "own", "union": "own", "with_suites": "union", "default": "default"}
    shorter["learned"] = "learned"
    for asked in lists:
        before = shorter[asked]
        same: dict[str, list[str]] = {}
        for role, pairs in roles.items():
            limit = tolerance(evidence.policy, kind, asked, role, depth)
            other = any(longer_than(exam, before, asked) for exam, _ in pairs)
            if limit is not None and asked == "default":
                now = evidence.plan["candidate"]
                other = kind == "zero_shot"  # of which no other list leaves out its classes
                other |= any(default(one, now) != default(one, its) for one, its in pairs)
            if pairs and limit is not None and (asked in {"own", "learned"} or other):
                key = json.dumps([[exam["name"], version["digest"]] for exam, version in pairs])
                same.setdefault(key, []).append(role)
        for names in same.values():
            in_pool = {(asked, name) for name in names} <= together
            pairs, own = roles[names[0]], evidence.plan["candidate"]["prompt"]
            differ = any(
                exam["own"].get("prompt", prompt) != prompt  # captions are asked in none
                for exam, version in pairs
                for prompt in (own, version["prompt"])
            )
            for own_prompts in (False, True)[: 1 + differ]:
                yield from measured(
                    evidence,
                    kind=kind,
                    asked=asked,
                    pairs=pairs,
                    own_prompts=own_prompts,
                    baseline=" and ".join(
                        "settled version" if name == "anchor" else name
                        for name in names
                        if name != "live version" or "parent" not in names
                    ),
                    tolerance=min(
                        tolerance(evidence.policy, kind, asked, name, depth) or 0.0
                        for name in names
                    )
                    if kind != "gain" or depth == 1
                    else 0.0,
                    depth=depth,
                    pooled=in_pool,
                )
