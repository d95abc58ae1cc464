"""The comparison of every method with fine-tuning: how much less it forgets and learns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.study.measures.queries import NEW, StudyQueries, unpack
from benchmarks.study.measures.share_spared import (
    Difference,
    Measured,
    Share,
    difference,
    share_kept,
    stacked,
)
from benchmarks.study.results.runs import Results, Run

ALL = "all"  # the mean over the retained measures


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A row compared with the baseline row, over the seeds that both have."""

    row: str
    seeds: tuple[int, ...]
    gain: Difference  # in UT-Acc (micro, over all new classes)
    shares: Mapping[str, Share]  # by retained measure


def comparisons(results: Results, baseline: str, queries: StudyQueries) -> list[Comparison]:
    """Compare all rows that share a seed with the baseline row; none without retained measures."""
    tuned = {run.seed: run for run in results.of_row(baseline)}
    found = []
    for row in results.rows:
        runs = [run for run in results.of_row(row.name) if run.seed in tuned]
        if row.name == baseline or not runs or not queries.retained:
            continue
        pairs = [(run, tuned[run.seed]) for run in runs]
        measured = {name: _measured(results, pairs, name) for name in queries.retained}
        shares = {name: share_kept([one]) for name, one in measured.items()}
        if len(measured) > 1:
            shares[ALL] = share_kept(list(measured.values()))
        found.append(
            Comparison(
                row=row.name,
                seeds=tuple(run.seed for run in runs),
                gain=difference(
                    stacked(run.hits(NEW) for run, _ in pairs),
                    stacked(base.hits(NEW) for _, base in pairs),
                ),
                shares=shares,
            )
        )
    return found


def _measured(results: Results, pairs: Sequence[tuple[Run, Run]], name: str) -> Measured:
    query = f"retained/{name}"
    return Measured(
        before=unpack(results.untouched["hits"][query]),
        method=stacked(run.hits(query) for run, _ in pairs),
        tuned=stacked(base.hits(query) for _, base in pairs),
    )
