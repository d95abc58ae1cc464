"""The distance of a study's rows from the curve of its default.

One weight moves the default along a curve from learning to keeping, so a row is better only if it
lies off that curve. A point is (learned, kept), its *balance* learned − kept, its A-Acc their mean.
Along the curve A-Acc is a function of the balance, piecewise linear between its points and constant
beyond them. The distance of a row is

    A-Acc of the row − A-Acc of the curve at the row's balance

so it is positive above the curve, and a row that learns and keeps a point more is a point off it.
It stays defined where the curve is steep, as near fine-tuning, and where it is flat.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import GIB
from benchmarks.study.cost import Spent
from benchmarks.study.measures import ALPHA, NEW, RESAMPLES, ImageHits, resampled, stacked
from benchmarks.study.results import ALL, Results, Run
from core.gate.intervals import Interval

Scores = NDArray[np.float64]


def distance(learned: Scores, kept: Scores, curve: tuple[Scores, Scores]) -> Scores:
    """Return the distance of rows, given as (rows,), from a curve of learned and kept (points,)."""
    balance = curve[0] - curve[1]
    order = np.argsort(balance)
    at = np.interp(learned - kept, balance[order], (curve[0] + curve[1])[order])
    return (learned + kept - at) / 2


@dataclass(frozen=True, kw_only=True)
class Off:
    """A row beside the curve, by one retained measure or by the mean of several."""

    row: str
    learned: float
    kept: float
    distance: float
    interval: Interval  # of 95 %
    beyond: bool  # whether the row's balance is outside the curve's, where it ends
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Hits of one row: on the new classes, and on each retained measure, both (seeds, images)."""

    learned: ImageHits
    kept: tuple[ImageHits, ...]


def off_curve(
    rows: Mapping[str, Answered], curve: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Off]:
    """Return how far each row is off the curve through some of them, in the order given.

    All rows have the same images and seeds in the same order. The interval is a percentile
    bootstrap over images, within each measure, and seeds together. A resample takes the same images
    and seeds for every row and every point of the curve, so variation that they share cancels.
    """
    draws = np.random.default_rng(seed)
    names, answered = list(rows), list(rows.values())
    points = [names.index(name) for name in curve]
    seeds = len(answered[0].learned)
    picked = draws.integers(seeds, size=(resamples, seeds))
    learned = _resampled_means([one.learned for one in answered], picked, draws)
    measures = [[one.kept[m] for one in answered] for m in range(len(answered[0].kept))]
    kept = np.mean([_resampled_means(hits, picked, draws) for hits in measures], axis=0)
    drawn = np.array(
        [
            distance(now, held, (now[points], held[points]))
            for now, held in zip(learned.T, kept.T, strict=True)
        ]
    )  # (resamples, rows)
    bounds = np.quantile(drawn, [ALPHA, 1 - ALPHA], axis=0)
    now = np.array([one.learned.mean() for one in answered])
    held = np.array([np.mean([hits.mean() for hits in one.kept]) for one in answered])
    away = distance(now, held, (now[points], held[points]))
    balance = now - held
    ends = balance[points].min(), balance[points].max()
    return [
        Off(
            row=name,
            learned=float(now[i]),
            kept=float(held[i]),
            distance=float(away[i]),
            interval=Interval(lower=float(bounds[0, i]), upper=float(bounds[1, i])),
            beyond=bool(not ends[0] <= balance[i] <= ends[1]),
            seeds=seeds,
        )
        for i, name in enumerate(names)
    ]


def _resampled_means(
    hits: Sequence[ImageHits], picked: NDArray[np.int64], draws: np.random.Generator
) -> Scores:
    """Return accuracies (rows, resamples) over the seeds picked (resamples, seeds) and images."""
    seeds = len(hits[0])
    shares = resampled(np.vstack(hits), draws, len(picked)).reshape(len(hits), seeds, -1)
    means: Scores = np.take_along_axis(shares, picked.T[None], axis=1).mean(axis=1)
    return means


def of_results(
    results: Results, curve: Sequence[str], retained: Sequence[str]
) -> dict[str, list[Off]]:
    """Return the distances by retained measure, and by the mean of all if there are several.

    A row is compared by the seeds that it and every point of the curve have; rows without any are
    left out. A measure whose names a row has read is no evidence for it, and neither is the mean.
    """
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in retained}
    if len(retained) > 1:
        groups[ALL] = tuple(retained)
    if not curve:
        return {}
    found = {
        title: list(_by_measures(results, curve, measures)) for title, measures in groups.items()
    }
    return {title: rows for title, rows in found.items() if rows}


def _by_measures(results: Results, curve: Sequence[str], measures: Sequence[str]) -> Iterator[Off]:
    """Yield the rows in the plan's order; those that have the same seeds are drawn together."""
    runs = {row.name: {run.seed: run for run in results.of_row(row.name)} for row in results.rows}
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for row in results.rows:
        seeds = set(runs[row.name]).intersection(*(runs.get(point, {}) for point in curve))
        if seeds and row.seeded(min(seeds)).named not in measures:
            by_seeds.setdefault(tuple(sorted(seeds)), []).append(row.name)
    found: dict[str, Off] = {}
    for seeds_in_common, names in by_seeds.items():
        answered = {
            name: _answered([runs[name][seed] for seed in seeds_in_common], measures)
            for name in dict.fromkeys((*names, *curve))
        }
        found |= {one.row: one for one in off_curve(answered, curve) if one.row in names}
    yield from (found[row.name] for row in results.rows if row.name in found)


def _answered(runs: Sequence[Run], measures: Sequence[str]) -> Answered:
    return Answered(
        learned=stacked(run.hits(NEW) for run in runs),
        kept=tuple(stacked(run.hits(f"retained/{one}") for run in runs) for one in measures),
    )


def table(found: Mapping[str, Sequence[Off]], costs: Mapping[str, Spent]) -> Iterator[str]:
    """Yield the lines of a Markdown table per measure, with what the rows' steps cost."""
    for measure, rows in found.items():
        yield f"Kept by {measure}:\n"
        yield "| row | seeds | learned | kept | off the curve | epochs | GFLOP a step | GiB |"
        yield "|---|---|---|---|---|---|---|---|"
        for one in rows:
            low, high = 100 * one.interval.lower, 100 * one.interval.upper
            away = f"{100 * one.distance:+.1f} [{low:+.1f}, {high:+.1f}]"
            cells = [one.row, str(one.seeds), f"{100 * one.learned:.1f}", f"{100 * one.kept:.1f}"]
            cells += [f"{away}, beyond its end" if one.beyond else away, *_cost(costs, one.row)]
            yield f"| {' | '.join(cells)} |"
        yield ""


def _cost(costs: Mapping[str, Spent], row: str) -> tuple[str, str, str]:
    if row not in costs:
        return "", "", ""
    spent = costs[row]
    return (
        f"{spent.epochs:.2f}",
        f"{spent.cost.flops / 1e9:.1f}",
        f"{spent.cost.bytes / GIB:.2f}",
    )
