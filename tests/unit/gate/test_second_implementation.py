"""The gate, written a second time from its documentation, from evidence alone.

No rule of `core` is used here, so that a formula which is changed there is found out. Sources:
docs/how-to/policy.md, ADR 12, 21 and 41; Tango (1998), Laud (2017), Obuchowski (1998), Holm (1979).
"""

import hashlib
import io
import json
import random
import zipfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import copysign, inf, sqrt
from statistics import mean
from typing import Any

import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm

from core.evaluation.holdouts import HeldOutUpdate
from core.recipes.fields import PromptTemplate
from tests.support.evaluation.evaluations import (
    EARLIER,
    FIRST,
    ROOT,
    THIRD,
    answered,
    entries,
    line_of_captions,
    live_line,
    policy,
    second_update,
    suite,
    third_update,
    with_duplicates,
)
from tests.support.evaluation.evidence import evidence_of, spent
from tests.support.evaluation.unlabelled import answers_to, labels_of, photos
from tests.support.factories import digest

Json = Mapping[str, Any]
SAME = pytest.approx

# ---- Statistics of a paired difference: n pairs, b gained, c lost --------------------------------


def losing_rate(n: float, b: float, c: float, delta: float) -> float:
    """The most likely rate of losses if the difference is delta (Tango, equation 4)."""
    linear = (2 * n - b + c) * delta - b - c
    return (sqrt(max(0.0, linear**2 + 8 * n * c * delta * (1 - delta))) - linear) / (4 * n)


def spread(n: float, b: float, c: float, delta: float) -> float:
    """The standard deviation of b - c if the difference is delta."""
    rate = losing_rate(n, b, c, delta)
    return sqrt(max(0.0, n * (2 * rate + delta * (1 - delta))))


def bound(n: float, b: float, c: float, z: float) -> float:
    """The difference from which b - c lies z standard deviations upwards."""

    def beyond(delta: float) -> float:
        return b - c - n * delta - z * spread(n, b, c, delta)

    seen = (b - c) / n
    low, high = (-1.0, seen - 1e-13) if z > 0 else (seen + 1e-13, 1.0)  # `seen` solves it trivially
    if z <= 0 and b == c == 0:
        return 0.0  # nothing was seen to change, and less than that is not asked
    if z == 0 or beyond(high) > 0:
        return seen if z >= 0 else 1.0
    if beyond(low) <= 0:
        return low if z > 0 else seen
    return float(brentq(beyond, low, high, xtol=1e-15, rtol=1e-14, maxiter=500))


def p_value(n: float, b: float, c: float, delta: float) -> float:
    """The p-value of "the difference is at least delta", with Laud's correction for skewness."""
    distance, deviation = b - c - n * delta, spread(n, b, c, delta)
    if abs(distance) < 1e-12:
        plain = 0.0
    else:
        plain = distance / deviation if deviation else copysign(inf, distance)
    if not deviation or abs(plain) == inf:
        return float(norm.cdf(plain))
    flipping = 2 * losing_rate(n, b, c, delta) + delta
    sixth = n * delta * (1 - 3 * flipping + 2 * delta**2) / deviation**3 / 6
    if abs(sixth) < 1e-12:
        return float(norm.cdf(plain))
    z = (sqrt(max(0.0, 1 + 4 * sixth * (plain + sixth))) - 1) / (2 * sixth)
    return float(norm.cdf(z))


def effect(changes: Sequence[float], groups: Sequence[str], prior: float) -> float:
    """The variance of changes in groups, by that of independent whole ones.

    So many flips of the worst case are added, in which all of a group flip together.
    """
    clusters: dict[str, list[float]] = {}
    for change, group in zip(changes, groups, strict=True):
        clusters.setdefault(group, []).append(change)
    n = len(changes)
    mean = sum(changes) / n
    between = sum((sum(each) - len(each) * mean) ** 2 for each in clusters.values())
    alone = sum(map(abs, changes)) - n * mean**2
    worst = sum(len(each) ** 2 for each in clusters.values()) / n
    return (between + prior * worst) / (alone + prior)


def surely_worse(own: Sequence[float], soft: Sequence[float], groups: Sequence[str]) -> bool:
    """True if images change for the worse beyond their soft hits, at one-sided 5 %."""
    gaps: dict[str, float] = {}
    for one, other, group in zip(own, soft, groups, strict=True):
        gaps[group] = gaps.get(group, 0.0) + other - one
    squares = sum(gap * gap for gap in gaps.values())
    return squares > 0 and sum(gaps.values()) > norm.isf(0.05) * sqrt(squares)


# ---- The evidence file ---------------------------------------------------------------------------

# Right now, right before, the group of near-duplicates, the edition with which the image came, and
# the change of the soft hit: the image makes up one half and its views the other; None without
# views.
Row = tuple[bool, bool, str, int, str, float | None]

DIRECTIONS = ("image_to_text", "text_to_image")


class Evidence:
    """A file, opened with nothing but the standard library."""

    def __init__(self, file: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            envelope = json.loads(archive.read("attestation.intoto.json"))
            self.report: Json = json.loads(archive.read("report.json"))
            statement = json.loads(b64decode(envelope["payload"]))
            for subject in statement["subject"]:
                data = archive.read(subject["name"])
                assert hashlib.sha256(data).hexdigest() == subject["digest"]["sha256"]
            self.facts: Json = json.loads(archive.read("evidence.json"))
            self.part = {
                one["file"]: json.loads(archive.read(f"parts/{one['file']}.json"))
                for one in (*self.facts["images"], *self.facts["answers"])
            }
        self.plan: Json = self.filled(self.facts["plan"])
        self.policy: Json = self.plan["policy"]
        self.to_label: list[str] = []  # suites with too few labels for one of the comparisons
        self.said = {(one["version"], one["query"]): one["file"] for one in self.facts["answers"]}

    def filled(self, value: Any) -> Any:
        """JSON in which the rows of tables are in their places."""
        if isinstance(value, dict) and value.keys() == {"table", "row"}:
            if value["table"] == "images":
                return self.part[self.facts["images"][value["row"]]["file"]]
            return self.filled(self.facts[value["table"]][value["row"]])
        if isinstance(value, dict):
            return {name: self.filled(one) for name, one in value.items()}
        return [self.filled(one) for one in value] if isinstance(value, list) else value

    def answers(self, version: Json, query: Json) -> Json:
        return self.part[self.said[version["digest"], name_of(query)]]

    def right(self, version: Json, query: Json, kind: str) -> list[bool]:
        """The right answers of a version."""
        return self.rights(version, query, kind)[0]

    def found(self, version: Json, exam: Json, kind: str, depth: int) -> list[bool]:
        """The searches that found what they are about, if among all captioned images."""
        own, whole = exam["own"]["entries"], (exam["among"] or exam["own"])["entries"]
        said = self.answers(version, exam["among"] or exam["own"])
        if kind == "image_to_text":
            ranks = dict(zip([pixels for pixels, *_ in whole], said["image_ranks"], strict=True))
            return [ranks[pixels] < depth for pixels, *_ in own]
        told = [(pixels, text) for pixels, _, _, *texts in whole for text in texts]
        first = dict(zip(told, said["caption_ranks"], strict=True))
        return [first[pixels, text] < depth for pixels, _, _, *texts in own for text in texts]

    def soft(self, version: Json, query: Json, kind: str) -> list[int] | None:
        """The number of right answers to views of each image; None without all views."""
        views = query.get("views", 0)
        hits = self.rights(version, query, kind)
        if not views or len(hits) <= views:
            return None
        return [sum(each) for each in zip(*hits[1 : views + 1], strict=True)]

    def rights(self, version: Json, query: Json, kind: str) -> list[list[bool]]:
        """The right answers: to the images, and to each view of them."""
        said = self.answers(version, query)
        names = [self.meaning(name) for name in query["classes"]] + [None]
        truths = [self.meaning(label) for *_, label in query["entries"]]
        return [
            [names[at] == truth for at, truth in zip(each, truths, strict=True)]
            for each in (said["predicted"], *said.get("views", ()))
        ]

    def meaning(self, name: str) -> str:
        """One name for all that the policy calls the same."""
        same = {name.lower()}
        for _ in self.policy["same_names"]:
            for pair in self.policy["same_names"]:
                lower = {one.lower() for one in pair}
                same |= lower if lower & same else set()
        return min(same)


def name_of(query: Json) -> str:
    """The digest that names a query, as docs/how-to/verify.md says."""
    rows = query["entries"]
    if "classes" in query:
        named = [[pixels, label] for pixels, *_, label in rows]
        what: list[Any] = ["class", named, query["classes"], query["prompt"]["text"]]
        what += ["mirror"] if query["mirror"] else []
    else:
        what = ["retrieval", [[pixels, texts] for pixels, _, _, *texts in rows]]
    text = json.dumps(what, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# ---- The measures --------------------------------------------------------------------------------


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
            kinds = product(DIRECTIONS, (1, 5)) if kind == "captions" else [(kind, 1)]
            for each, depth in kinds:
                yield from of_roles(evidence, each, roles, depth=depth)
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

    def small(most: int) -> dict[str, dict[str, list[tuple[Json, Json]]]]:
        together: dict[str, dict[str, list[tuple[Json, Json]]]] = {asked: {} for asked in lists}
        for asked in lists:
            for role, found in pairs(kept, asked).items():
                longest = "union" if asked == "default" else asked
                few = [
                    p
                    for p in found
                    if distinct(p[0]) < most and choices(evidence, p[0][longest]) > 1
                ]
                if len(few) > 1:
                    together[asked][role] = few
        return together

    together = small(least)
    for one in kept:
        for asked in lists:
            own_pairs = pairs([one], asked)
            among = {
                (asked, role)
                for role, found in together.get(asked, {}).items()
                if all(p in found for p in own_pairs[role])
            }
            yield from of_roles(evidence, "holdout", own_pairs, among, lists=(asked,))
    for asked, roles in together.items():
        yield from of_roles(evidence, "holdouts", roles, lists=(asked,))
    larger = together
    for most in (min(88, least), min(22, least)):  # the smallest among them can only fail
        smallest = small(most)
        for asked, roles in smallest.items():
            apart = {role: p for role, p in roles.items() if p != larger[asked].get(role)}
            within = {(asked, role) for role in apart}
            yield from of_roles(evidence, "holdouts", apart, within, lists=(asked,))
        larger = smallest
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
        for depth in (1, 5) if "among" in one["exam"] else (1,):
            roles = {"parent": [(one["exam"], plan["parent"])]}
            yield from of_roles(evidence, "gain", roles, depth=depth)


def between(plan: Json, suite: str) -> list[Json]:
    """The earlier versions that went live by passing, with which a suite is compared, too."""
    roles = [plan["candidate"], plan["parent"], plan["root"], plan["live"] or plan["root"]]
    there = [one["digest"] for one in roles]
    found = [*plan["settled"].get(suite, []), *plan["live_settled"].get(suite, [])]
    return [one for one in found if one["digest"] not in there]


def of_captions(evidence: Evidence) -> Iterator[dict[str, Any]]:
    """The holdouts of other updates of captions, and the small ones together."""
    plan, live, least = evidence.plan, evidence.plan["live"], evidence.policy["minimum_count"]
    candidate = plan["candidate"]["digest"]
    earlier = [one for one in plan["captioned"] if one["learner"]["digest"] != candidate]
    every: dict[str, list[tuple[Json, Json]]] = {}
    each: list[dict[str, list[tuple[Json, Json]]]] = []
    for one in earlier + plan["live_captioned"]:
        there = {"live version": live, "settled version": one["settled"]}
        if one in earlier:
            there = {"parent": plan["parent"], **there}
        now = {role: version["digest"] for role, version in there.items() if version}
        roles = {}
        for role, version in there.items():
            if version is None:
                continue
            exam = one["exam"]
            replaced = [now[name] for name in ("parent", "live version") if name in now]
            if role == "settled version" and version["digest"] not in replaced:
                exam = {**exam, "among": None}  # it has answered about the holdout alone
            roles[role] = [(exam, version)]
            texts = {text for row in (exam["among"] or exam["own"])["entries"] for text in row[3:]}
            if distinct(exam) < least and len(texts) > 1:
                every.setdefault(role, []).append((exam, version))
        each.append(roles)
    pools = {role: pairs for role, pairs in every.items() if len(pairs) > 1}
    for kind, depth in product(DIRECTIONS, (1, 5)):
        for roles in each:
            inside = {
                ("own", role)
                for role, pairs in roles.items()
                if all(one in pools.get(role, []) for one in pairs)
            }
            yield from of_roles(evidence, kind, roles, inside, depth=depth)
        yield from of_roles(evidence, kind, pools, depth=depth)


def choices(evidence: Evidence, query: Json) -> int:
    """The classes to choose from; those that mean the same are one."""
    return len({evidence.meaning(name) for name in query["classes"]})


def distinct(exam: Json) -> int:
    """The images of a holdout, near-duplicates counted once."""
    return len({oldest or pixels for pixels, oldest, *_ in exam["own"]["entries"]})


def tolerance(policy: Json, kind: str, asked: str, role: str) -> float | None:
    """The loss that is allowed; None if that is not compared."""
    if kind == "gain":
        return -policy["wanted_gain"] if asked == "own" else None
    if asked in {"with_suites", "default"} and kind not in {"holdout", "holdouts"}:
        return None
    if asked == "default":
        return policy["default_list_tolerance"] if role in {"parent", "live version"} else None
    if asked == "with_suites":
        if role == "settled version":
            return None
        same = "swallow_tolerance" if role == "anchor" else "holdout_tolerance"
        return max(policy["union_tolerance"], policy[same])
    if kind in {"holdout", "holdouts"}:
        if role == "anchor":  # the settled version that answers the candidate's list
            return policy["swallow_tolerance"] if asked == "union" else None
        if role == "settled version":
            return policy["settled_tolerance"] if asked == "own" else None
        return policy["holdout_tolerance"]
    if asked == "union":
        if kind != "zero_shot":
            return None
        wide = max(policy["union_tolerance"], policy["root_tolerance"])
        return wide if role == "root" else policy["union_tolerance"]
    if role == "settled version":
        return max(policy["settled_tolerance"], policy["root_tolerance"])
    return policy["root_tolerance" if role == "root" else "parent_tolerance"]


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
    for asked in lists:
        before = shorter[asked]
        same: dict[str, list[str]] = {}
        for role, pairs in roles.items():
            limit = tolerance(evidence.policy, kind, asked, role)
            other = any(exam.get(asked) != exam.get(before) for exam, _ in pairs)
            if limit is not None and asked == "default":
                now = evidence.plan["candidate"]
                other = any(default(exam, now) != default(exam, version) for exam, version in pairs)
            if pairs and limit is not None and (asked == "own" or other):
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
                        tolerance(evidence.policy, kind, asked, name) or 0.0 for name in names
                    )
                    if kind != "gain" or depth == 1
                    else 0.0,
                    depth=depth,
                    pooled=in_pool,
                )


def default(exam: Json, version: Json) -> Json:
    """The question that callers ask a version who send no classes."""
    own = exam["own"]
    known = {name.lower() for name in own["classes"]}
    more = [name for name in version["classes"] if name.lower() not in known]
    return {**own, "classes": [*own["classes"], *more]}


OF_CLASSES = {"zero_shot", "holdout", "holdouts"}


def measured(evidence: Evidence, **about: Any) -> Iterator[dict[str, Any]]:
    """A measure with its bounds, and that of its negative flips if the policy limits these."""
    policy, plan = evidence.policy, evidence.plan
    kind, asked, pairs = about["kind"], about["asked"], about["pairs"]
    spent = [evidence.facts["spending"].get(name_of(exam["own"])) for exam, _ in pairs]
    guards = kind != "gain"
    level = policy["alpha"] if guards else policy["gain_error"]
    if guards and policy["line_error"] is not None:
        verdict = max(one["verdict"] if one else 1 for one in spent)
        luck = max(one["luck"] if one else 1.0 for one in spent)
        half = policy["line_updates"]
        share = policy["line_error"] * half / ((half + verdict - 1) * (half + verdict))
        level = min(level, share / luck)
    if guards:  # all looks of a version at images that grow share it
        look = max(one["look"] if one else 1 for one in spent)
        level *= (0.8, 0.04, 0.02, 0.01, 0.005)[look - 1]
    if "labels" in pairs[0][0]:
        yield from estimated(evidence, about, level)
        return
    rows = paired(evidence, about, plan["candidate"])
    live = None
    if plan["live"] is not None and about["baseline"] in {"root", "settled version"}:
        learners = {
            one["learner"]["number"]
            for one in (*plan["holdouts"], *plan["live_holdouts"])
            for exam, _ in pairs
            if exam in (one["exam"], one["common"])
        }
        learners |= {
            one["learner"]["number"]
            for one in (*plan["captioned"], *plan["live_captioned"])
            for exam, _ in pairs
            if exam["own"] == one["exam"]["own"]
        }
        if learners <= set(plan["live_lineage"]):
            theirs = paired(evidence, about, plan["live"])
            live = sum(now - before for now, before, *_ in theirs) / len(theirs)
            if kind in OF_CLASSES:
                theirs = paired(evidence, about, plan["live"], others=True)
                about["others_live"] = mean([row[0] - row[1] for row in theirs] or [0])
    yield bounded(evidence, rows, level, about | {"flips": False, "live": live})
    limit = policy["negative_flips"]
    one_update = kind in {"zero_shot", *DIRECTIONS} and asked == "own" and about["depth"] == 1
    were_right = [row for row in rows if row[1]]
    if about["baseline"] in {"root", "settled version"}:
        one_update = False
    if limit is not None and one_update and were_right:
        flips = {"flips": True, "live": None, "tolerance": limit}
        yield bounded(evidence, were_right, level, about | flips)


def answers_on(evidence: Evidence, about: Json, now: Json, exam: Json, before: Json) -> list[Row]:
    """The answers about each image, or each caption, that are right now, and before."""
    kind, asked, given = about["kind"], about["asked"], []
    for who in (now, before):
        query = default(exam, who) if asked == "default" else exam.get(asked, exam["own"])
        prompt = {"prompt": who["prompt"]} if about["own_prompts"] else {}
        given.append((who, {**query, **prompt}))
    groups = [(oldest or pixels, born) for pixels, oldest, born, *_ in query["entries"]]
    if kind == "text_to_image":
        texts = [texts for _, _, _, *texts in query["entries"]]
        groups = [group for group, own in zip(groups, texts, strict=True) for _ in own]
    if kind in DIRECTIONS:
        both = zip(
            *(evidence.found(who, exam, kind, about["depth"]) for who in (now, before)), strict=True
        )
        return [
            (new, old, group, born, "", None)
            for (new, old), (group, born) in zip(both, groups, strict=True)
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


def first_ones(query: Json, *, each_class: bool) -> list[int]:
    """The places of the images that count: of each group, or class in it, the one that came first.

    Of several in an edition it is no copy of an older one, or has the smallest digest.
    """
    best: dict[tuple[str, str], tuple[int, bool, str, int]] = {}
    for place, (pixels, oldest, born, *texts) in enumerate(query["entries"]):
        key = oldest or pixels, texts[0].lower() if each_class else ""
        this = born, oldest is not None, pixels, place
        best[key] = min(best.get(key, this), this)
    return sorted(place for *_, place in best.values())


def taught_since(evidence: Evidence, before: Json) -> set[str]:
    """The classes that the candidate, and its ancestors that are none of a version, were taught."""
    plan = evidence.plan
    known = {one["number"]: one for one in (plan["root"], plan["parent"], *plan["teachers"])}

    def line(at: Json | None) -> Iterator[Json]:
        if at is not None:
            yield at
            yield from line(known.get(at["parent"]))

    theirs = [one["number"] for one in line(before)]
    since = [one for one in line(plan["candidate"]) if one["number"] not in theirs]
    return {evidence.meaning(name) for one in since for name in one["update_classes"]}


def paired(evidence: Evidence, about: Json, now: Json, *, others: bool = False) -> list[Row]:
    """The answers that are right now, and before: one for each group, with its captions.

    The gain in captions has those of both directions.

    Each earlier holdout has one for each class of a group, which is lost, kept or gained, in this
    order, if it is by any of these. With `others`, only those count that show a class which was not
    taught since the version before.
    """
    if about["kind"] == "gain" and "among" in about["pairs"][0][0]:
        return [row for way in DIRECTIONS for row in paired(evidence, {**about, "kind": way}, now)]
    earlier, found = about["kind"] in {"holdout", "holdouts"}, dict[tuple[str, str], list[Row]]()
    for exam, version in about["pairs"]:
        rows = answers_on(evidence, about, now, exam, version)
        query = exam.get(about["asked"], exam["own"])
        if others:
            taught = taught_since(evidence, version)
            labels = [evidence.meaning(label) for *_, label in query["entries"]]
            rows = [row for row, label in zip(rows, labels, strict=True) if label not in taught]
            shown = zip(query["entries"], labels, strict=True)
            query = {**query, "entries": [one for one, label in shown if label not in taught]}
        counted = first_ones(query, each_class=earlier)
        if about["kind"] == "text_to_image":
            told = [
                (place, text)
                for place, (_, _, _, *texts) in enumerate(query["entries"])
                for text in texts
            ]
        else:
            told = [(place, "") for place in range(len(query["entries"]))]
        for (place, text), row in zip(told, rows, strict=True):
            if place in counted:
                found.setdefault((row[2], text), []).append(row)
    return [min(rows[::-1], key=tells) for rows in found.values()]


def tells(row: "Row | ClassRow") -> int:
    """The answer that counts of an image taught several times: lost, kept, gained, or neither."""
    return [(False, True), (True, True), (True, False), (False, False)].index(row[:2])


def on_every_image(evidence: Evidence, about: Json) -> float:
    """The change over all images, if there are near-duplicates, which count once otherwise."""
    changes, groups = dict[tuple[str, str], int](), set[str]()
    gain_in_captions = about["kind"] == "gain" and "among" in about["pairs"][0][0]
    if gain_in_captions or about["kind"] in DIRECTIONS:
        candidate = evidence.plan["candidate"]
        every = [
            row
            for way in (DIRECTIONS if gain_in_captions else (about["kind"],))
            for pair in about["pairs"]
            for row in answers_on(evidence, {**about, "kind": way}, candidate, *pair)
        ]
        images = {row[0] for exam, _ in about["pairs"] for row in exam["own"]["entries"]}
        copied = len(images) > len({row[2] for row in every})
        return sum(row[0] - row[1] for row in every) / len(every) if copied else inf
    for exam, version in about["pairs"]:
        rows = answers_on(evidence, about, evidence.plan["candidate"], exam, version)
        for (pixels, *_, label), row in zip(exam["own"]["entries"], rows, strict=True):
            changes[pixels, label.lower()] = row[0] - row[1]
            groups.add(row[2])
    return sum(changes.values()) / len(changes) if len(changes) > len(groups) else inf


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


def estimated(
    evidence: Evidence, about: dict[str, Any], level: float | None
) -> Iterator[dict[str, Any]]:
    """The measure of an unlabelled suite: labels of a part speak for that part of the images."""
    policy, live = evidence.policy, evidence.plan["live"]
    ((exam, before),) = about["pairs"]
    images, apart, size, rows, share = sampled(evidence, about, before)
    query = {**exam[about["asked"]]}
    query |= {"prompt": before["prompt"]} if about["own_prompts"] else {}
    names = [evidence.meaning(name) for name in query["classes"]] + [None]
    same = most([names[at] for at in evidence.answers(before, query)["predicted"]])
    if size < 0:
        evidence.to_label.append(about["pairs"][0][0]["name"])
        return
    n = images * len(rows) / apart if apart else images
    b, c = sum(now > old for now, old in rows), sum(now < old for now, old in rows)
    lost = None
    if live is not None and about["baseline"] == "root":
        _, others, enough, since, _ = sampled(evidence, about, live)
        if enough >= 0:
            net = sum(now - old for now, old in since)
            lost = (b - c) / n - (net / (images * len(since) / others) if since else 0.0)
    level = (policy["alpha"] if level is None else level) * share
    asked = min(1.0, int(n) / policy["minimum_count"]) * norm.isf(level)
    z = norm.isf(policy["alpha"])
    yield {
        **about,
        "live": lost,
        "flips": False,
        "shown": size > 0 and images - same > about["tolerance"] * images,
        "name": [exam["name"] for exam, _ in about["pairs"]],
        "distinct": images * len(rows) // apart if apart else images,
        "count": images,
        "gained": b,
        "lost": c,
        "design_effect": 1.0,
        "held_back_by": None,
        "level": level,
        "lower": bound(n, b, c, asked),
        "interval_lower": bound(n, b, c, z),
        "upper": -bound(n, c, b, z),
        "p": p_value(n, b, c, -about["tolerance"]),
    }


def bounded(
    evidence: Evidence, rows: Sequence[Row], level: float | None, about: Json
) -> dict[str, Any]:
    """A measure's counts and bounds."""
    policy = evidence.policy
    prior = norm.isf(level or policy["alpha"]) ** 2
    by_default = about["asked"] == "default"
    asked_views = about["kind"] != "gain" and not by_default and about["depth"] == 1
    found = counted(rows, prior, soft=asked_views and not about["flips"])
    share = min(1.0, found["distinct"] / policy["minimum_count"])
    if about["pooled"]:
        share = 2 * share - 1
    if about["kind"] == "gain":
        share = 1.0
    if only_fails(about):
        share = -1.0
    z, asked = norm.isf(policy["alpha"]), share * norm.isf(level or policy["alpha"])
    if share <= 0:
        asked = share * z
    n, b, c = found["single"]
    lower, held_back = decided(found, asked), None
    own = about["pairs"][0][0]["name"] == f"version {evidence.plan['candidate']['number']}"
    if (
        not by_default
        and about["depth"] == 1
        and not about["flips"]
        and (own or not about["pooled"])
    ):
        lower = min(lower, on_every_image(evidence, about))
    if about["kind"] == "gain" and "classes" in about["pairs"][0][0]["own"]:
        parts = [
            each for (_, edition), each in by_class(evidence, about).items() if edition is None
        ]
        lower = min(lower, mean([mean([row[0] - row[1] for row in each]) for each in parts]))
    if asked_views:
        held_back = hidden(policy, rows, prior, about)
    others = untaught(evidence, about, prior)
    return {
        **about,
        **found,
        "untaught": others,
        "held_back_by_untaught": others is not None
        and decided(others, alone(policy, others)) < -about["tolerance"],
        "name": [exam["name"] for exam, _ in about["pairs"]],
        "shown": lists(evidence, about) != {1}
        and not about["flips"]
        and (about["tolerance"] >= 1 or above(evidence, about, rows) > about["tolerance"]),
        "level": level,
        "lower": lower,
        "held_back_by": held_back,
        "interval_lower": bound(n, b, c, z),
        "upper": -bound(n, c, b, z),
        "p": p_value(n, b, c, -about["tolerance"]),
    }


def above(evidence: Evidence, about: Json, rows: Sequence[Row]) -> float:
    """The share of answers that were right beyond those that one answer to all would have right."""
    if about["kind"] in DIRECTIONS:
        queries = [exam["own"] for exam, _ in about["pairs"]]
        images = [
            texts
            for query in queries
            for place, (_, _, _, *texts) in enumerate(query["entries"])
            if place in first_ones(query, each_class=False)
        ]
        every = [text for texts in images for text in texts]
        same = most([text for texts in images for text in {*texts}])
        if about["kind"] == "text_to_image":
            same = max(sum(text in texts for text in every) for texts in images)
    else:
        same = most([row[4] for row in rows])
    return (sum(row[1] for row in rows) - same) / len(rows)


def most(names: Sequence[Any]) -> int:
    """The number of times that the most frequent name is there."""
    return max((names.count(name) for name in {*names}), default=0)


def lists(evidence: Evidence, about: Json) -> set[int]:
    """The numbers of classes to choose from."""
    queries = [exam.get(about["asked"], exam["own"]) for exam, _ in about["pairs"]]
    return {choices(evidence, query) if "classes" in query else 0 for query in queries}


def counted(rows: Sequence[Row], prior: float, *, soft: bool) -> dict[str, Any]:
    """Counts of some answers: of single images, and of what decides."""
    changes, groups = [now - before for now, before, *_ in rows], [row[2] for row in rows]
    inflation = max(1.0, effect(changes, groups, prior))
    gained, lost = changes.count(1), changes.count(-1)
    single = len(rows) / inflation, gained / inflation, lost / inflation
    deciding, viewed = single, [change for *_, change in rows if change is not None]
    if soft and len(viewed) == len(rows) and not surely_worse(changes, viewed, groups):
        each = effect(viewed, groups, prior / 2)
        grown, shrunk = sum(max(0, one) for one in viewed), sum(max(0, -one) for one in viewed)
        deciding = len(rows) / each, grown / each, shrunk / each
    return {
        "distinct": len(set(groups)),
        "count": len(rows),
        "gained": gained,
        "lost": lost,
        "design_effect": inflation,
        "single": single,
        "deciding": deciding,
    }


def decided(found: Json, z: float) -> float:
    """The bound that decides; the change of single images has to be within tolerance, too."""
    (n, b, c), (m, d, e) = found["single"], found["deciding"]
    if (n, b, c) == (m, d, e):
        return bound(n, b, c, z)
    return min(bound(m, d, e, z), bound(n, b, c, min(z, 0.0)))


def hidden(policy: Json, rows: Sequence[Row], prior: float, about: Json) -> int | None:
    """The first edition whose images alone may have lost more, which the added ones hide.

    They have to be within tolerance with 80 % confidence; with hardly any images, not beyond it
    with 95 %. And they have not lost significantly more than the others, all holdouts together.
    """
    for edition in sorted({row[3] for row in rows})[:-1]:
        parts = (
            [row for row in rows if row[3] <= edition],
            [row for row in rows if row[3] > edition],
        )
        earlier, added = (counted(part, prior, soft=not about["flips"]) for part in parts)
        if decided(earlier, alone(policy, earlier)) < -about["tolerance"]:
            return edition
        (n, b, c), (m, d, e) = earlier["deciding"], added["deciding"]
        apart = (d - e) / m - (b - c) / n
        variance = (b + c) / n**2 - (b - c) ** 2 / n**3 + (d + e) / m**2 - (d - e) ** 2 / m**3
        if not about["pooled"] and c > b and apart > norm.isf(0.05) * sqrt(max(0.0, variance)):
            return edition
    return None


def alone(policy: Json, found: Json) -> float:
    """The standard deviations by which a part of the images must be within tolerance alone."""
    share = min(1.0, found["distinct"] / policy["minimum_count"])
    return float(share * norm.isf(0.2) - (1 - share) * norm.isf(0.05))


def untaught(evidence: Evidence, about: Json, prior: float) -> dict[str, Any] | None:
    """The counts on classes that were not taught since, where others that are shown were."""
    elsewhere = about["pooled"] or about["flips"] or about["asked"] == "default"
    if about["kind"] not in OF_CLASSES or elsewhere:
        return None
    taught = [
        evidence.meaning(label) in since
        for exam, version in about["pairs"]
        for since in [taught_since(evidence, version)]
        for *_, label in exam["own"]["entries"]
    ]
    if all(taught) or not any(taught):
        return None
    rows = paired(evidence, about, evidence.plan["candidate"], others=True)
    found = counted(rows, prior, soft=True)
    n, b, c = found["single"]
    live = about.get("others_live")
    return {
        **found,
        "p": p_value(n, b, c, -about["tolerance"]),
        "inherited": live is not None and live < -about["tolerance"],
    }


# ---- The verdict ---------------------------------------------------------------------------------


def only_fails(about: Json) -> bool:
    """True if a measure fails a version or holds."""
    in_pool = about["pooled"] and (about["asked"] == "with_suites" or about["kind"] == "holdouts")
    return in_pool or about["asked"] == "default" or about["depth"] > 1


def verdict(evidence: Evidence) -> tuple[str, list[dict[str, Any]]]:
    """The verdict, and the measures with their outcomes."""
    found, alpha = list(measures(evidence)), evidence.policy["alpha"]
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
        holds = holds and not one.get("held_back_by_untaught", False)
        holds = holds or (only_fails(one) and not beyond)
        failing = any(one is other for other in below) and not beyond
        failing |= any(other.get("of") is one and not other["inherited"] for other in below)
        one["outcome"] = "fails" if failing else "holds" if holds else "open"
    kept = [one for one in found if one["kind"] != "gain"]
    least = evidence.policy["minimum_count"]
    guarded = any(
        one["distinct"] >= least and not one["pooled"] and one["shown"] and one["asked"] == "own"
        for one in kept
        if one["depth"] == 1
    )
    guarded = guarded and any(
        evidence.plan[one] for one in ("zero_shot", "unlabelled", "retrieval")
    )
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


def lost_classes(evidence: Evidence, found: Sequence[Json]) -> dict[tuple[Any, ...], bool]:
    """The classes that have lost too much, each with where, and whether the live one has, too."""
    limit, alpha = evidence.policy["class_tolerance"], evidence.policy["alpha"]
    if limit is None:
        return {}
    every: list[tuple[float, tuple[str, ...], bool, tuple[Any, ...]]] = []
    for one in found:
        kinds = {"holdout", "holdouts"}
        asked = one["asked"] == "own" or (one["kind"] in kinds and one["asked"] == "union")
        if one["kind"] not in {"zero_shot", "gain", *kinds} or one["flips"] or not asked:
            continue
        if one["kind"] == "holdouts" and one["pooled"]:
            continue
        exams = tuple(exam["name"] for exam, _ in one["pairs"])
        if {"labels", "among"} & one["pairs"][0][0].keys():  # unlabelled, or captions
            continue
        name = exams[0] if len(exams) == 1 else f"{len(exams)} updates"
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


# Right now, right before, what the live version had, the edition, and the number of the holdout.
ClassRow = tuple[bool, bool, bool, int, int]


def by_class(evidence: Evidence, one: Json) -> dict[tuple[str, int | None], list[ClassRow]]:
    """The images of each class, and those of an earlier edition that had fewer of the class.

    Of several holdouts, the classes of which more than one has an image.
    """
    classes: dict[str, dict[str, list[ClassRow]]] = {}
    for number, (exam, version) in enumerate(one["pairs"]):
        query = exam[one["asked"]]
        rows = at_live = answers_on(evidence, one, evidence.plan["candidate"], exam, version)
        if one["live"] is not None:
            at_live = answers_on(evidence, one, evidence.plan["live"], exam, version)
        for place in first_ones(query, each_class=True):
            now, before, group, born, *_ = rows[place]
            of_class = classes.setdefault(query["entries"][place][-1].lower(), {})
            row = now, before, at_live[place][0], born, number
            of_class.setdefault(group, []).append(row)
    found: dict[tuple[str, int | None], list[ClassRow]] = {}
    for label, each in classes.items():
        holdouts = {number for rows in each.values() for *_, number in rows}
        if len(one["pairs"]) > 1 and len(holdouts) < 2:
            continue
        found[label, None] = whole = [min(rows[::-1], key=tells) for rows in each.values()]
        for edition in {born for *_, born, _ in whole}:
            some = [row for row in whole if row[3] <= edition]
            if len(some) < len(whole):
                found[label, edition] = some
    return found


def class_p(n: int, gained: int, lost: int, limit: float) -> float:
    """The chance of such a loss at the limit: of few images, for independent versions."""
    if lost - gained <= limit * n:
        return 1.0
    if n > 60:
        return p_value(n, gained, lost, -limit)
    before = range(n + 1)
    return max(
        sum(
            binom.pmf(right, n, at) * binom.cdf(right - (lost - gained), n, at - limit)
            for right in before
        )
        for at in [limit + (1 - limit) * step / 20 for step in range(21)]
    )


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
            "class_name": one["class_name"].lower(),
            "name": one["name"].replace(" of the live version", "").replace(" of both lines", ""),
        }
        for one in evidence.report["lost_classes"]
    ]
    assert {tuple(one[key] for key in where) for one in stated_lost} == {
        *lost_classes(evidence, found)
    }
    assert len(found) == len(evidence.report["measures"]) == len(stated)
    for one in found:
        names = one["name"]
        key = (one["kind"], one["asked"], one["baseline"], one["own_prompts"])
        (told,) = [
            value
            for (*same, name, flips, depth), value in stated.items()
            if tuple(same) == key
            and flips is one["flips"]
            and depth == one["depth"]
            and (
                name.startswith((f"{len(names)} updates", f"{len(names)} captioned updates"))
                if len(names) > 1
                else name == names[0]
            )
        ]
        for field in ("distinct", "count", "gained", "lost", "outcome", "pooled", "held_back_by"):
            assert told[field] == one[field], (key, field)
        for field in ("tolerance", "design_effect", "lower", "interval_lower", "upper"):
            assert told[field] == SAME(one[field], abs=1e-9, rel=1e-9), (key, field)
        others = one.get("untaught")
        assert told["held_back_by_untaught"] == one.get("held_back_by_untaught", False), key
        assert (told["untaught"] is None) == (others is None), key
        for field in ("distinct", "count", "gained", "lost", "design_effect"):
            if others is not None:
                assert told["untaught"][field] == SAME(others[field]), (key, field)
        assert told["live_difference"] == (None if one["live"] is None else SAME(one["live"]))
        assert told["level"] == (None if one["level"] is None else SAME(one["level"]))
    assert evidence.report["verdict"] == given
    return given


# ---- Reports on made-up answers ------------------------------------------------------------------


EMOJI = suite(
    "emoji",
    with_duplicates(entries("many emoji", [("cat",), ("dog",), ("Bag",), ("sun",)] * 150)),
    second_update().suites[0].kind,
)

SHAPES = suite(
    "shapes",
    with_duplicates(
        entries("many shapes", [("a square", "a box"), ("a ring",), ("a dot", "a point")] * 40)
    ),
    second_update().suites[1].kind,
)

BOTH = [EMOJI, SHAPES]


def larger(count: int) -> list[Any]:
    """The holdouts of the line, with more images; two are in both by another class, one a copy."""
    found: list[Any] = []
    for n, one in enumerate(EARLIER):
        names = [(name,) for name in one.version.update_classes]
        images = entries(f"more {n}", names * count)
        twice = tuple(
            replace(image, texts=names[1], pixels=pixels, near_duplicate_of=oldest)
            for old in found
            for image, pixels, oldest in (
                (old.holdout[0], old.holdout[0].pixels, None),
                (old.holdout[1], digest("saved again"), old.holdout[1].pixels),
            )
        )
        found.append(replace(one, holdout=twice + images))
    return found


def grown(images: Any, *sizes: int) -> Any:
    """Images of which the last so many came with the second edition, the third and so on."""
    born = [1] * (len(images) - sum(sizes))
    for number, size in enumerate(sizes, 2):
        born += [number] * size
    return tuple(replace(one, edition=n) for one, n in zip(images, born, strict=True))


def larger_suite(one: Any, *sizes: int) -> Any:
    images = grown(one.manifest.entries, *sizes)
    return replace(one, manifest=replace(one.manifest, entries=images))


OTHER = PromptTemplate("a drawing of {name}")


def in_other_prompt(live: Any) -> Any:
    """A live line that answers callers in another prompt."""
    updates = tuple(
        replace(one, version=replace(one.version, prompt=OTHER)) for one in live.updates
    )
    return replace(live, version=updates[-1].version, updates=updates)


def flipping(seed: int, rate: float, loss: float = 0.0) -> Callable[[Any, Any, int], bool]:
    """Each version is right about most; the candidate (the highest number) loses some of it."""

    def right(who: Any, question: Any, index: int) -> bool:
        pixels = question.entries[index % len(question.entries)].pixels
        drawn = random.Random(f"{seed} {pixels} {index}").random()
        again = random.Random(f"{seed} {who.number} {pixels} {index}").random()
        right = drawn < 0.7
        lost = again < rate + (loss if who.number in {3, 4} else 0.0)
        return right != lost

    return right


def with_views(plan: Any, answers: Any, seed: int, alike: Any) -> Any:
    """The answers, with those to views, of which one in ten is another; one version lacks some.

    The views are answered as the images are in `alike`.
    """
    found = dict(answers)
    for who, questions in plan.questions:
        for asked in questions:
            if not getattr(asked, "views", 0):
                continue
            drawn = random.Random(f"{seed} {who.number} {asked.digest}")
            given = alike[who.digest, asked.digest]
            some = 1 if seed and who.number == 1 and len(asked.entries) > 100 else asked.views
            views = tuple(
                tuple(
                    drawn.randrange(len(asked.classes)) if drawn.random() < 0.1 else one
                    for one in given.predicted
                )
                for _ in range(some)
            )
            found[who.digest, asked.digest] = replace(
                answers[who.digest, asked.digest], views=views
            )
    return found


MIRRORED = replace(EMOJI, suite=replace(EMOJI.suite, mirror=True))


def one_class_suite() -> Any:
    """A suite on whose own list every version is right."""
    return suite("cats", entries("cats", [("cat",)] * 300), EMOJI.suite.kind)


STRICT = policy(minimum_count=300, line_error=0.05, negative_flips=0.2)

CASES = {
    "harmless": (second_update(suites=BOTH, policy=policy(minimum_count=300, views=0)), 0.02, 0.0),
    "loses": (second_update(suites=BOTH, policy=policy(minimum_count=300)), 0.05, 0.5),
    "budget and flips": (second_update(suites=BOTH, policy=STRICT), 0.08, 0.03),
    "pools": (
        third_update(
            earlier=larger(60),
            suites=BOTH,
            policy=policy(
                line_error=0.1, minimum_count=200, same_names=(("bag", "BOOT"), ("boot", "sack"))
            ),
        ),
        0.05,
        0.02,
    ),
    "one large": (
        second_update(
            earlier=larger(60)[:1],
            live=live_line(),
            suites=[EMOJI],
            policy=policy(minimum_count=100),
        ),
        0.05,
        0.02,
    ),
    "nothing to lose": (
        second_update(
            suites=[one_class_suite()], policy=policy(minimum_count=300, parent_tolerance=0.9)
        ),
        0.0,
        0.0,
    ),
    "live": (second_update(live=live_line(), suites=[EMOJI], policy=STRICT), 0.1, 0.05),
    "views": (
        third_update(
            earlier=larger(60), suites=[MIRRORED, SHAPES], policy=policy(minimum_count=200, views=4)
        ),
        0.03,
        0.02,
    ),
    "on images alone": (
        second_update(suites=BOTH, policy=policy(minimum_count=300, parent_tolerance=0.1)),
        0.02,
        0.08,
    ),
    "grown": (
        third_update(
            earlier=[
                replace(one, holdout=grown(one.holdout, 30 * (n + 1)))
                for n, one in enumerate(larger(60))
            ],
            suites=[larger_suite(EMOJI, 300, 200), larger_suite(SHAPES, 60)],
            policy=policy(minimum_count=200, negative_flips=0.2, holdout_tolerance=0.01),
        ),
        0.04,
        0.02,
    ),
    "a suite's prompt": (
        second_update(
            suites=[replace(one, suite=replace(one.suite, prompt=OTHER)) for one in BOTH],
            policy=policy(minimum_count=200, negative_flips=0.2, class_tolerance=0.1),
        ),
        0.1,
        0.05,
    ),
    "prompts": (
        second_update(
            live=in_other_prompt(live_line()),
            root=replace(ROOT, prompt=OTHER),
            suites=BOTH,
            policy=policy(minimum_count=200, negative_flips=0.2, class_tolerance=0.1),
        ),
        0.1,
        0.05,
    ),
    "small": (second_update(), 0.1, 0.0),
    "captions": (line_of_captions(30, 90, 40, 30, suites=BOTH, policy=STRICT), 0.05, 0.1),
    "captions beside live": (
        line_of_captions(
            20, 40, 30, live=(30, 150), suites=[EMOJI], policy=policy(minimum_count=90)
        ),
        0.1,
        0.05,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(2))
def test_a_second_implementation_agrees_on_every_number_and_verdict(case: str, seed: int) -> None:
    plan, rate, loss = CASES[case]
    exams: list[Any] = [*plan.zero_shot, *plan.retrieval, *(one.exam for one in plan.kept)]
    exams += [one.exam for one in plan.kept_captions]
    spending = {
        one.own.digest: spent(verdict=3 + 10 * n, luck=1.0 + n) for n, one in enumerate(exams)
    }
    answers = answered(plan, flipping(seed, rate, loss))
    alike = answered(plan, flipping(seed, rate)) if case == "on images alone" else answers
    answers = with_views(plan, answers, seed, alike)
    file = evidence_of(plan, answers, spending)
    agrees(file)
    soft = [one["soft"] is not None for one in Evidence(file).report["measures"]]
    assert any(soft) == bool(plan.policy.views and plan.policy.line_error is None)
    assert not all(soft)


def test_earlier_editions_that_hold_back_are_recomputed_of_suites_captions_and_pools() -> None:
    plan, rate, loss = CASES["grown"]
    found = set()
    for seed in (0, 9):
        file = evidence_of(plan, answered(plan, flipping(seed, rate, loss)))
        agrees(file)
        found |= {
            (one["name"], one["held_back_by"]) for one in Evidence(file).report["measures"]
        } - {(name, None) for name in ("emoji", "shapes", "2 updates")}
    assert {("emoji", 1), ("emoji", 2), ("shapes", 1), ("2 updates", 1)} <= found
    assert {name for name, _ in found} & {"version 2", "version 3"}


def test_classes_that_an_earlier_edition_has_lost_are_recomputed() -> None:
    plan = CASES["grown"][0]
    plan = replace(plan, policy=replace(plan.policy, class_tolerance=0.0))
    file = evidence_of(plan, answered(plan, flipping(0, 0.04, 0.7)))
    assert agrees(file) == "failed"
    lost = Evidence(file).report["lost_classes"]
    assert {(one["name"], one["edition"]) for one in lost} >= {("emoji", 2), ("emoji", None)}


def test_classes_that_several_small_holdouts_have_lost_together_are_recomputed() -> None:
    again = larger(40)
    more = grown(entries("again", [("Bag",), ("coat",)] * 40), 30)
    again[1] = replace(again[1], holdout=again[1].holdout + again[0].holdout[:9] + more)
    plan = third_update(
        earlier=again, live=live_line(), policy=policy(minimum_count=300, class_tolerance=0.0)
    )
    right = flipping(0, 0.04)

    def forgets(who: Any, question: Any, index: int) -> bool:
        return right(who, question, index) and (who != plan.candidate or index % 5 == 0)

    file = evidence_of(plan, answered(plan, forgets))
    assert agrees(file) == "failed"
    lost = [one for one in Evidence(file).report["lost_classes"] if one["kind"] == "holdouts"]
    assert {(one["class_name"].lower(), one["edition"]) for one in lost} >= {
        ("bag", None),
        ("bag", 1),
    }


def test_classes_of_the_update_itself_that_it_has_lost_are_recomputed() -> None:
    plan = CASES["prompts"][0]
    own = HeldOutUpdate(
        version=plan.candidate, holdout=entries("more", [("boot",), ("coat",)] * 40)
    )
    limits = replace(plan.policy, class_tolerance=0.0)
    plan = second_update(candidate=own, live=in_other_prompt(live_line()), policy=limits)
    file = evidence_of(plan, answered(plan, flipping(0, 0.0, 1.0)))
    assert agrees(file) == "failed"
    lost = Evidence(file).report["lost_classes"]
    found = {
        (one["kind"], one["baseline"], one["own_prompts"])
        for one in lost
        if one["name"] == "version 3"
    }
    assert found == {
        ("gain", "parent", False),
        ("holdout", "live version", False),
        ("holdout", "live version", True),
    }


@pytest.mark.parametrize("labelled", [0, 60, 130, 200])
@pytest.mark.parametrize("look", [1, 3])
def test_an_unlabelled_suite_is_recomputed(labelled: int, look: int) -> None:
    limits = policy(minimum_count=60, line_error=0.1, same_names=(("dog", "hound"),))
    labels = labels_of(range(labelled))
    labels |= dict.fromkeys([*labels][::7], "none of these")
    suites = [photos(labels), EMOJI]
    plan = second_update(suites=suites, policy=limits, live=live_line())
    drawn = random.Random(labelled)
    wrong = {n: [p for p in range(200) if drawn.random() < 0.1] for n in (1, 2, 3, 10)}
    [exam] = plan.unlabelled
    spending = {exam.own.digest: spent(verdict=2, luck=1.5, look=look)}
    file = evidence_of(plan, answers_to(plan, wrong), spending)
    agrees(file)
    told = [one for one in Evidence(file).report["measures"] if one["disagreements"]]
    assert bool(told) == (labelled > 60)


def test_all_verdicts_occur_in_what_is_compared() -> None:
    """A comparison of reports that are all alike would tell nothing."""
    taught = replace(EARLIER[1], holdout=larger(30)[1].holdout)
    right = second_update(candidate=taught, suites=[EMOJI], policy=policy(minimum_count=100))
    seen = {
        agrees(evidence_of(plan, answered(plan, say)))
        for plan, say in (
            (right, lambda who, question, index: who.number > 2 or index % 4 > 0),
            (CASES["loses"][0], flipping(0, 0.05, 0.5)),
            (CASES["small"][0], flipping(0, 0.1)),
        )
    }
    assert seen == {"passed", "failed", "inconclusive"}


@pytest.mark.parametrize("failing", [0, 1], ids=["first", "second"])
def test_a_measure_fails_from_the_same_limit_on(failing: int) -> None:
    """At the tolerance where the corrected p-value is that of a step of Holm's."""
    wide = {f"{name}_tolerance": 1.0 for name in ("root", "holdout", "settled")}

    def judged(tolerance: float) -> dict[str, Any]:
        own, union = (0.0, tolerance) if failing else (tolerance, 1.0)
        limits = policy(**wide, parent_tolerance=own, union_tolerance=union, minimum_count=100)
        plan = second_update(suites=[EMOJI], policy=limits)
        file = evidence_of(plan, answered(plan, flipping(3, 0.01, 0.4)))
        agrees(file)
        _, found = verdict(Evidence(file))
        asked = "union" if failing else "own"
        (one,) = [m for m in found[:4] if (m["asked"], m["baseline"]) == (asked, "parent")]
        return one | {"of": len(found) + sum(m.get("untaught") is not None for m in found)}

    first = judged(0.0)
    n, b, c = (first[name] / first["design_effect"] for name in ("count", "gained", "lost"))
    step = 0.005 / (first["of"] - failing)
    limit = brentq(lambda loss: p_value(n, b, c, -loss) - step, 0.0, (c - b) / n, xtol=1e-12)
    assert judged(limit * 0.9999)["outcome"] == "fails"
    assert judged(limit * 1.0001)["outcome"] == "open"


TAUGHT_AGAIN = {
    "suite of a live line": {"suites": [EMOJI], "live": live_line()},
    "holdouts": {"earlier": larger(60)},
    "small holdouts": {
        "earlier": larger(60),
        "policy": policy(minimum_count=300, same_names=(("dog", "hat"), ("coat", "SHIRT"))),
    },
}


@pytest.mark.parametrize("case", TAUGHT_AGAIN)
def test_classes_that_others_hide_which_were_taught_since_are_recomputed(case: str) -> None:
    taught = HeldOutUpdate(
        version=replace(THIRD, update_classes=("hat", "BAG", "coat")),
        holdout=entries("t", [("hat",)]),
    )
    limits = policy(minimum_count=100)
    plan = third_update(**{"candidate": taught, "policy": limits, **TAUGHT_AGAIN[case]})
    again, verdicts = ("hat", "bag", "coat"), []
    for loss in (0.02, 0.3):

        def right(who: Any, question: Any, index: int, loss: float = loss) -> bool:
            image = question.entries[index % len(question.entries)]
            drawn = random.Random(f"{image.pixels} {index}").random()
            before = 0.8 if image.texts[0].lower() not in again else 0.3
            now = before + (0.6 if before < 0.5 else -loss)
            return drawn < (now if who.number == 4 else before)

        file = evidence_of(plan, answered(plan, right))
        verdicts.append(agrees(file))
        told = Evidence(file).report["measures"]
        assert any(one["untaught"] for one in told)
        assert any(one["held_back_by_untaught"] for one in told) == (loss > 0.1)
    assert verdicts[0] != "failed"
    assert verdicts[1] == ("failed" if "suites" in TAUGHT_AGAIN[case] else "inconclusive")


def test_looks_at_images_that_were_added_and_a_failure_that_stands_are_recomputed() -> None:
    more = entries("more", [("bag",), ("shirt",)] * 10)
    first = replace(EARLIER[0], more=more, added="suite_more-2")
    plan = third_update(
        earlier=[first, EARLIER[1]],
        policy=policy(line_error=0.05),
        can_answer=lambda version, _: version is not FIRST,
    )
    assert plan.kept[0].common != plan.kept[0].exam
    queries = [query for one in plan.kept for query in one.queries]
    spending = {one.digest: spent(verdict=3, luck=1.0, look=2) for one in queries}
    answers = answered(plan, flipping(5, 0.05))
    for failed_before, given in (((), {"passed", "inconclusive"}), ((3,), {"failed"})):
        file = evidence_of(plan, answers, spending, failed_before=failed_before)
        assert agrees(file) in given
