"""The report of a blame: each group, and what each class gains or loses without it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from core.domain.comparison.group_blame import ClassBlame, GroupChange, blame_groups
from core.domain.jobs.order import BlameOrder, JobType
from core.domain.values import JobId, Json
from core.errors import BlameNotFound
from core.ports import Platform
from core.use_cases.blame.blame_plan import BlamePlan
from core.use_cases.blame.finished_groups import FinishedGroup


def blame_report(
    plan: BlamePlan, order: BlameOrder, finished: Sequence[FinishedGroup]
) -> dict[str, Any]:
    """Return the report as JSON: a function of the plan and the groups' answers."""
    without = [[*zip(plan.queries, one.answers, strict=True)] for one in finished]
    blames = [
        blame_groups(name, plan.groups, own=plan.own, without=without, alpha=plan.alpha)
        for name in plan.classes
    ]
    return {
        "model": plan.model.name,
        "version": plan.version.number,
        "digest": plan.version.digest,
        "parent": plan.parent.number,
        "by": order.by.value,
        "asked": list(plan.asked),
        "alpha": plan.alpha,
        "exact": is_exact(plan, finished),
        "groups": [
            {
                "group": number,
                "name": group.name,
                "images": len(group.entries),
                "classes": dict(group.counts),
                "pixels": list(group.pixels),
                "digest": one.digest,
            }
            for number, (group, one) in enumerate(zip(plan.groups, finished, strict=True), start=1)
        ],
        "classes": [_class(blame) for blame in blames],
    }


def is_exact(plan: BlamePlan, finished: Sequence[FinishedGroup]) -> bool:
    """Return whether all was trained in one environment, the version's own.

    Elsewhere, rounding alone makes a difference.
    """
    own = plan.version.environment
    return bool(plan.version.exact) and all(group.environments == (own,) for group in finished)


def read_blame(platform: Platform, job: JobId) -> Json:
    """Return the report of a job. Raises JobNotFound, BlameNotFound or ArtifactMissing."""
    with platform.transactions(read_only=True) as work:
        found = work.jobs.get(job)
    if found.type is not JobType.BLAME or found.result is None:
        raise BlameNotFound
    report: Json = json.loads(platform.artifacts.get(found.result["report"]))
    return report


def flat_rows(report: Json) -> Iterator[dict[str, Any]]:
    """Yield a row for each class and group, for a table."""
    groups = {group["group"]: group for group in report["groups"]}
    for one in report["classes"]:
        for row in one["groups"]:
            group = groups[row["group"]]
            yield {"class": one["class"], **row, "images": group["images"], "tested": one["images"]}


def _class(blame: ClassBlame) -> dict[str, Any]:
    return {
        "class": blame.class_name,
        "images": blame.images,
        "right": blame.right,
        "summary": blame.summary,
        "groups": [_group(one) for one in blame.groups],
    }


def _group(one: GroupChange) -> dict[str, Any]:
    change = one.change
    return {
        "group": one.group,
        "name": one.name,
        "right_before": change.right_before,
        "right": change.right,
        "gained": change.gained,
        "lost": change.lost,
        "difference": change.difference,
        "lower": change.lower,
        "upper": change.upper,
        "clear": one.clear,
    }
