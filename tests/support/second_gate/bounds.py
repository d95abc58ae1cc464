"""Each measure's counts and bounds."""

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import mean
from typing import Any

from scipy.special import ndtri

from tests.support.second_gate.answers import (
    first_ones,
    on_every_image,
    paired,
    sampled,
    taught_since,
)
from tests.support.second_gate.classes import (
    OF_CLASSES,
    apart,
    by_label,
    centre,
    certainty,
    editions,
    kept_without_gain,
    last_of_each_class,
    last_of_each_group,
    losing,
    mean_of_classes,
    of_its_own,
    parts_count,
    worst_mean,
)
from tests.support.second_gate.evidence import (
    DIRECTIONS,
    Evidence,
    Json,
    Row,
    asked_of,
    choices,
    name_of,
)
from tests.support.second_gate.formulas import bound, effect, p_value, surely_worse


def measured(evidence: Evidence, **about: Any) -> Iterator[dict[str, Any]]:
    """A measure with its bounds, and that of its negative flips if the policy limits these."""
    policy, plan = evidence.policy, evidence.plan
    kind, asked, pairs = about["kind"], about["asked"], about["pairs"]
    counted = [name_of(exam.get("suite", exam["own"])) for exam, _ in pairs]
    spent = [evidence.facts["spending"].get(name) for name in counted]
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
    asked = min(1.0, int(n) / policy["minimum_count"]) * -ndtri(level)
    z = -ndtri(policy["alpha"])
    yield {
        **about,
        "live": lost,
        "flips": False,
        "shown": images - same > about["tolerance"] * images and choices(evidence, query) != 1,
        "labelled": size > 0,
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
    prior = ndtri(level or policy["alpha"]) ** 2
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
    z, asked = -ndtri(policy["alpha"]), share * -ndtri(level or policy["alpha"])
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
        lower = min(lower, on_every_image(evidence, about, certainty(about)))
    if about["kind"] == "gain" and "classes" in about["pairs"][0][0]["own"]:
        changes = of_its_own(evidence, about)
        lower = min(lower, centre(changes, 1), centre(changes, 30))
        for later in last_of_each_class(evidence, about):
            worst = mean_of_classes(by_label(evidence, later), certainty(about), least=1)
            lower = lower if worst is None else min(lower, worst)
    elif about["kind"] == "gain" and about["depth"] == 1:
        for each in last_of_each_group(evidence, about):
            of_each = mean_of_classes(each, certainty(about))
            lower = lower if of_each is None else min(lower, of_each)
    elif about["kind"] in DIRECTIONS and about["depth"] == 1 and not about["flips"]:
        told = by_label(evidence, rows)
        several = [told] if len(told) < len(rows) else []
        for each in (*several, *last_of_each_group(evidence, about)):
            of_each = mean_of_classes(each, certainty(about))
            lower = lower if of_each is None else min(lower, of_each)
    elif apart(about) and (surely := worst_mean(evidence, about)) is not None:
        lower = min(lower, surely)
    losers = losing(evidence, about)
    if losers is not None:
        lower = min(lower, losers["at_most"])
    if asked_views:
        held_back = hidden(evidence, rows, prior, about)
    others, without_gain = untaught(evidence, about, prior), ungained(evidence, about, prior)
    return {
        **about,
        **found,
        "untaught": others,
        "ungained": without_gain,
        "losing": losers,
        "held_back_by_others": any(
            decided(one, -certainty(about) if about["pooled"] else alone(policy, one))
            < -about["tolerance"]
            for one in (others, without_gain)
            if one is not None
        ),
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
            query["entries"][place][3:]
            for query in queries
            for place in first_ones(query, each_class=False)
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
    queries = [asked_of(exam, about["asked"]) for exam, _ in about["pairs"]]
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


def hidden(evidence: Evidence, rows: Sequence[Row], prior: float, about: Json) -> int | None:
    """The first edition whose images alone may have lost more, which the added ones hide.

    They have to be within tolerance with 80 % confidence; with hardly any images, not beyond it
    with 95 %. And they have not lost significantly more than the others, all holdouts together.
    Captions are searched among these images, too.
    """
    policy = evidence.policy
    for edition in sorted({row[3] for row in rows})[:-1]:
        parts = (
            [row for row in rows if row[3] <= edition],
            [row for row in rows if row[3] > edition],
        )
        earlier, added = (counted(part, prior, soft=not about["flips"]) for part in parts)
        within = [earlier, *among_those(evidence, about, edition, prior)]
        if any(decided(one, alone(policy, one)) < -about["tolerance"] for one in within):
            return edition
        (n, b, c), (m, d, e) = earlier["deciding"], added["deciding"]
        apart = (d - e) / m - (b - c) / n
        variance = (b + c) / n**2 - (b - c) ** 2 / n**3 + (d + e) / m**2 - (d - e) ** 2 / m**3
        if not about["pooled"] and c > b and apart > -ndtri(0.05) * sqrt(max(0.0, variance)):
            return edition
    return None


def among_those(evidence: Evidence, about: Json, edition: int, prior: float) -> list[Json]:
    """The counts of an edition's captions in its own gallery, if the version before answered so."""
    (exam, before), now = about["pairs"][0], evidence.plan["candidate"]
    if about["kind"] not in DIRECTIONS or about["asked"] != "own" or about["flips"]:
        return []
    some = [entry for entry in exam["own"]["entries"] if entry[2] <= edition]
    query = {"entries": some}
    if (before["digest"], name_of(query)) not in evidence.said:
        return []
    alone_there = {"name": exam["name"], "own": query, "among": None, "union": None}
    rows = paired(evidence, {**about, "pairs": [(alone_there, before)]}, now)
    return [counted(rows, prior, soft=False)]


def alone(policy: Json, found: Json) -> float:
    """The standard deviations by which a part of the images must be within tolerance alone."""
    share = min(1.0, found["distinct"] / policy["minimum_count"])
    return float(share * -ndtri(0.2) - (1 - share) * -ndtri(0.05))


def untaught(evidence: Evidence, about: Json, prior: float) -> dict[str, Any] | None:
    """The counts on classes that were not taught since, where others that are shown were."""
    if about["pooled"] or not parts_count(about):
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


def ungained(evidence: Evidence, about: Json, prior: float) -> dict[str, Any] | None:
    """The worst counts of several: without what visibly gained, and untaught in older editions."""
    if not parts_count(about):
        return None
    some = kept_without_gain(evidence, about)
    if untaught(evidence, about, prior) is not None:
        some += editions(paired(evidence, about, evidence.plan["candidate"], others=True))[1:]
    found = [counted(kept, prior, soft=True) for kept in some]
    return min(found, key=lambda one: decided(one, alone(evidence.policy, one)), default=None)


def only_fails(about: Json) -> bool:
    """True if a measure fails a version or holds."""
    several = about["kind"] == "holdouts" or len(about["pairs"]) > 1
    in_pool = about["pooled"] and (about["asked"] == "with_suites" or several)
    return in_pool or about["asked"] == "default" or about["depth"] > 1
