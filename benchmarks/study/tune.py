"""The choice of each row's values on validation parts, with seeds that no study uses."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.study.plan import Plan, PlanInvalid, Row
from benchmarks.study.progress import Screen
from benchmarks.study.study import Study, run_all

SCORES = ("ut_acc", "retained", "a_acc")

Found = Mapping[str, list[dict[str, Any]]]


def grid_points(plan: Plan, row: Row) -> list[tuple[dict[str, Any], Row]]:
    """Return every point of a row's grids once: its values, and the row with them.

    Raises PlanInvalid when the plan has no grid for the row.
    """
    grids = plan.grids.get(row.name)
    if not grids:
        raise PlanInvalid(f"the plan has no [tune.grid.{row.name}]")
    points: list[dict[str, Any]] = []
    for grid in grids:
        for values in product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            if point not in points:
                points.append(point)
    return [
        (
            point,
            Row(
                name=f"{row.name} {_words(point)}",
                recipe={**row.recipe, **point},
                compared=row.compared,
            ),
        )
        for point in points
    ]


def search(study: Study, rows: Sequence[Row], seeds: Sequence[int], screen: Screen) -> Found:
    """Run every row's grid; return its points with mean validation scores, best first.

    The row's criterion decides the order. Rows without a grid are left out, as are those of which
    another process still runs a part. Raises PlanInvalid without seeds, or with a study's.
    """
    if not seeds:
        raise PlanInvalid("tuning needs seeds of its own: [tune] seeds, or --seeds")
    if shared := set(seeds) & set(study.plan.seeds):
        raise PlanInvalid(f"seed {min(shared)} is one of the study's: tune with others")
    found = {}
    for row in [row for row in rows if row.name in study.plan.grids]:
        points = grid_points(study.plan, row)
        run_all(study, [tried for _, tried in points], seeds, screen)
        if not all(
            study.runner.is_done(tried.seeded(seed)) for _, tried in points for seed in seeds
        ):
            screen.say(f"{row.name}: another process has not finished its part; not chosen yet")
            continue
        scored = [_scored(study, point, tried, seeds) for point, tried in points]
        complete = [one for one in scored if one["seeds"]]
        criterion = study.plan.criteria.get(row.name, "a_acc")
        found[row.name] = sorted(complete, key=itemgetter(criterion), reverse=True)
    return found


def _scored(study: Study, point: dict[str, Any], row: Row, seeds: Sequence[int]) -> dict[str, Any]:
    scores = [
        record["scores"]
        for seed in seeds
        for record in study.runner.finished(row.seeded(seed))[-1:]
        if "scores" in record
    ]
    if len(scores) < len(seeds):
        return {"values": point, "seeds": 0}
    return {
        "values": point,
        "seeds": len(scores),
        **{name: fmean(one[name] for one in scores) for name in SCORES},
    }


def publish(found: Found, path: Path, console: Console) -> None:
    """Print every point, and add the best of each row to the file of tuned values."""
    table = Table(title="on validation parts")
    for title in ("row", "values", "UT-Acc", "retained", "A-Acc", ""):
        table.add_column(title)
    for row, points in found.items():
        for rank, one in enumerate(points):
            numbers = [f"{100 * one[name]:.1f}" for name in SCORES]
            table.add_row(row, _words(one["values"]), *numbers, "" if rank else "chosen")
    console.print(table)
    chosen = json.loads(path.read_bytes()) if path.is_file() else {}
    chosen |= {row: points[0] for row, points in found.items() if points}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(chosen, indent=2) + "\n")
    console.print(f"chosen values: {path}", markup=False)


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(_pairs(values))


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
