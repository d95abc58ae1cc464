"""Rules of versions and weights that are kept, scored or deleted."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.errors import ArtifactGone, InUse
from core.gate.rules import Verdict
from core.jobs.needs import (
    Retention,
    require_alias_unused,
    require_scorable,
    require_version_unused,
    spare_versions,
)
from core.jobs.orders import (
    BlameOrder,
    CompareIndexOrder,
    ConvertOrder,
    EvaluateOrder,
    ExportOrder,
    ImportOrder,
    Order,
    ReembedOrder,
    UpdateOrder,
)
from core.jobs.rules import Job
from core.recipes.rules import Recipe
from core.registry.aliases import Alias, AliasMove
from core.registry.exports import ExportFormat
from core.registry.versions import ServingPrecision, Version
from core.upkeep.gc import Amount
from core.values import DatasetId
from tests.support.factories import NOW, a_job, a_model, a_move, a_policy, a_version

MODEL = a_model(a_policy())

NONE_IN_PARTICULAR = Retention(keep_last=0, made_before=NOW + timedelta(days=1))

UPDATE = UpdateOrder(dataset=DatasetId("ds_1"), dataset_version=1, recipe=Recipe())


def versions(*parents: int | None, **changes: Any) -> list[Version]:
    """Versions 1, 2, ... with these parents, judged all of them."""
    return [
        a_version(a_job(MODEL), number, **{"parent": parent, "verdict": Verdict.FAILED} | changes)
        for number, parent in enumerate(parents, 1)
    ]


def unjudged(found: Sequence[Version], *numbers: int) -> list[Version]:
    return [replace(one, verdict=None) if one.number in numbers else one for one in found]


def history(*live: int) -> list[AliasMove]:
    return [
        a_move(Alias(model=MODEL.id, name="a", version=to, revision=revision, updated_at=NOW))
        for revision, to in enumerate(live, 1)
    ]


def spare(
    found: Sequence[Version],
    *,
    histories: Iterable[Sequence[AliasMove]] = (),
    unfinished: Iterable[Job] = (),
    **changes: Any,
) -> list[int]:
    retention = replace(NONE_IN_PARTICULAR, **changes)
    asked = {"histories": histories, "unfinished": unfinished, "retention": retention}
    return [one.number for one in spare_versions(found, **asked)]


def test_all_but_roots_are_spare_when_nothing_needs_them() -> None:
    assert spare(versions(None, 1, 2, None, 4)) == [2, 3, 5]
    assert spare(versions(None, 1, 2, 1)[::-1]) == [2, 3, 4]  # oldest first, whatever the order
    assert spare([]) == []


@pytest.mark.parametrize(
    ("keep_last", "given_up"), [(0, [2, 3, 4]), (1, [2, 3]), (2, [2]), (3, []), (9, [])]
)
def test_so_many_of_the_newest_stay(keep_last: int, given_up: list[int]) -> None:
    assert spare(versions(None, 1, 1, 1), keep_last=keep_last) == given_up


@pytest.mark.parametrize(("seconds", "given_up"), [(-1, []), (0, []), (1, [2])])
def test_version_is_young_from_the_moment_on_that_is_named(
    seconds: int, given_up: list[int]
) -> None:
    assert spare(versions(None, 1), made_before=NOW + timedelta(seconds=seconds)) == given_up


def test_what_any_alias_would_come_back_to_stays() -> None:
    assert spare(versions(None, 1, 1, 1, 1), histories=[history(2, 4), history(3)]) == [5]


def jobs_that_need(number: int) -> dict[str, Job]:
    """Jobs that need a version, by how they do."""
    orders: dict[str, Order] = {
        "ordered from it": replace(UPDATE, parent=number),
        "converts it": ConvertOrder(precision=ServingPrecision.BF16, parent=number),
        "scores it": EvaluateOrder(version=number),
        "blames it": BlameOrder(version=number),
        "exports it": ExportOrder(version=number, format=ExportFormat.ONNX),
        "compares with it": CompareIndexOrder(version=1, baseline=number),
        "embeds by it": ReembedOrder(version=number, dataset=DatasetId("ds_1"), dataset_version=1),
    }
    return {how: a_job(MODEL, order=order) for how, order in orders.items()} | {
        "pinned to it": a_job(MODEL, order=UPDATE, parent_version=number),
        "has made it": a_job(MODEL, order=UPDATE, version=number),
    }


@pytest.mark.parametrize("how", jobs_that_need(3))
def test_what_an_unfinished_job_reads_or_has_made_stays(how: str) -> None:
    importing = a_job(MODEL, order=ImportOrder(base="bundled"))
    unfinished = [importing, jobs_that_need(3)[how]]
    assert spare(versions(None, 1, 1, 1), unfinished=unfinished) == [2, 4]


def test_versions_that_are_named_but_not_there_need_nothing() -> None:
    assert spare(versions(None, 1), histories=[history(8)]) == [2]


def test_parent_of_what_stays_stays_and_its_own_parent_does_not() -> None:
    assert spare(versions(None, 1, 2, 3, 4), keep_last=1) == [2, 3]


def test_ancestors_of_what_stays_stay_until_they_are_judged() -> None:
    line = versions(None, 1, 2, 3, 4, 5, 2)
    assert spare(unjudged(line, 2), histories=[history(6)]) == [3, 4, 7]
    assert spare(unjudged(line, 2, 4, 7), histories=[history(6)]) == [3, 7]
    assert spare(unjudged(line, 2, 3, 4), histories=[history(7)]) == [3, 4, 5, 6]


def test_version_gives_up_its_weights_once() -> None:
    found = versions(None, 1, 1)
    gone = replace(found[1], collected_at=NOW)
    assert spare([found[0], gone, found[2]]) == [3]


# ---- What can be scored ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "not_judged", "missing"),
    [
        ([], [2], None),
        ([2], [], None),
        ([2, 3], [], None),
        ([2, 3], [3], 3),
        ([1], [], 1),
        ([4], [], 4),
        ([1, 4], [], 1),
    ],
)
def test_line_can_be_scored_with_its_ends_and_what_was_never_judged(
    gone: list[int], not_judged: list[int], missing: int | None
) -> None:
    line = [
        replace(one, collected_at=NOW) if one.number in gone else one
        for one in unjudged(versions(None, 1, 2, 3), *not_judged)
    ]
    if missing is None:
        require_scorable(line)
        return
    with pytest.raises(ArtifactGone) as told:
        require_scorable(line)
    assert told.value.facts == {"version": missing, "collected_at": NOW.isoformat()}


def test_amounts_add_up() -> None:
    assert Amount().plus(5).plus(7) == Amount(count=2, size=12)


MADE = a_job(MODEL)

# 1 - 2 - 3 - 5, and 4 beside 2
LINE = [
    replace(a_version(MADE, number), parent=parent)
    for number, parent in ((1, None), (2, 1), (3, 2), (4, 1), (5, 3))
]

LIVE = Alias(model=MODEL.id, name="production", version=3, revision=1, updated_at=NOW)


def check(number: int, *jobs: Job, alias: Alias = LIVE) -> None:
    require_version_unused(LINE[number - 1], versions=LINE, aliases=[alias], unfinished=jobs)


def test_a_version_that_nothing_uses_may_go() -> None:
    check(4, a_job(MODEL, order=replace(UPDATE, parent=2)))
    check(5)


def test_a_root_goes_with_its_model() -> None:
    with pytest.raises(InUse, match="delete the model"):
        require_version_unused(LINE[0], versions=LINE[:1], aliases=[], unfinished=[])


def test_aliases_and_all_descendants_are_named() -> None:
    with pytest.raises(InUse) as told:
        check(2, alias=replace(LIVE, version=2))
    assert told.value.facts == {"aliases": ["production"], "descendants": [3, 5]}
    assert told.value.message == (
        "Version 2 cannot be deleted. Aliases that point at it: production. "
        "Versions that were trained from it: 3, 5."
    )


@pytest.mark.parametrize("how", jobs_that_need(4))
def test_an_unfinished_job_that_needs_the_version_is_named(how: str) -> None:
    job = jobs_that_need(4)[how]
    with pytest.raises(InUse) as told:
        check(4, job)
    assert told.value.facts == {"jobs": [job.id]}


def test_an_alias_is_kept_for_jobs_that_name_it() -> None:
    staging = replace(LIVE, name="staging")
    jobs = [
        a_job(MODEL, order=replace(UPDATE, alias="staging")),
        a_job(MODEL, order=EvaluateOrder(version=2)),
    ]
    with pytest.raises(InUse) as told:
        require_alias_unused(staging, unfinished=jobs)
    assert told.value.facts == {"jobs": [jobs[0].id]}
    with pytest.raises(InUse):
        require_alias_unused(LIVE, unfinished=jobs)
    require_alias_unused(replace(LIVE, name="other"), unfinished=[*jobs, MADE])
