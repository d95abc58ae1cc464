"""The results of a study so far: its runs, and means with spread over seeds."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.study import matrix_scores
from benchmarks.study.measures import (
    NEW,
    Difference,
    Measured,
    Share,
    StudyQueries,
    difference,
    negative_flips,
    share_kept,
    stacked,
    unpack,
)
from benchmarks.study.plan import Row
from benchmarks.study.runner import ExperimentRunner, Record
from benchmarks.study.study import Study
from core.evaluation import results as metrics
from core.gate.intervals import Interval

MATRIX_SCORES = {
    "bwt_standard": metrics.backward_transfer,
    "bwt_reference": metrics.backward_transfer_reference,
    "forgetting": metrics.forgetting,
    "forgetting_over_all_rows": matrix_scores.forgetting_over_all_rows,
    "transfer_by_columns": matrix_scores.transfer_by_columns,
    "transfer_by_rows": matrix_scores.transfer_by_rows,
    "avg": matrix_scores.average,
    "last": matrix_scores.last_accuracy,
    "learned": matrix_scores.learned_accuracy,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe with one seed, all sessions finished, beside the untouched model."""

    row: Row
    seed: int
    untouched: Record
    sessions: Sequence[Record]

    @property
    def matrix(self) -> list[list[float]]:
        """a[t][i]: macro accuracy on session i's classes after session t, over all classes."""
        return [record["scores"]["sessions/macro"] for record in self.sessions]

    @cached_property
    def scores(self) -> dict[str, float]:
        """The last version's scores, their changes since the base, and the whole run's scores."""
        before, after = self.untouched["scores"], self.sessions[-1]["scores"]
        found = {name: value for name, value in after.items() if not isinstance(value, list)}
        for name in [name for name in found if _is_kept(name)]:
            found[f"{name}/change"] = after[name] - before[name]
            if before[name]:
                found[f"{name}/retention"] = after[name] / before[name]
        found["gain"] = found["ut_acc"] - _untouched_target(before, len(self.sessions))
        found["training_s"] = sum(record["training_s"] for record in self.sessions)
        if len(self.sessions) > 1:
            found |= {name: score(self.matrix) for name, score in MATRIX_SCORES.items()}
            found["fwt"] = metrics.forward_transfer(self.matrix, before["sessions/macro"])
        return found | self._flips()

    def _flips(self) -> dict[str, float]:
        """Return the negative flips of each class query, per update and over the line."""
        found: dict[str, float] = {}
        for name in self.untouched["hits"]:
            if name == NEW or name.startswith("retained/"):
                versions = [unpack(one["hits"][name]) for one in (self.untouched, *self.sessions)]
                flips = negative_flips(versions)
                found |= {f"flips/{name}/update": flips.update, f"flips/{name}/line": flips.line}
        return found

    def hits(self, name: str = NEW) -> NDArray[np.bool_]:
        """Return the last version's hits on a query."""
        return unpack(self.sessions[-1]["hits"][name])


def _is_kept(name: str) -> bool:
    kept = name == "retained" or name.startswith("retained/")
    return kept or (name.startswith("retrieval/") and name.endswith("/1"))


def _untouched_target(scores: Record, sessions: int) -> float:
    """Return the untouched model's UT-Acc over the classes of all sessions."""
    return scores["ut_acc"] if sessions == 1 else fmean(scores["sessions/macro"])


@dataclass(frozen=True, kw_only=True)
class Results:
    """All finished runs of a plan's rows."""

    untouched: Record
    runs: tuple[Run, ...]
    failed: tuple[str, ...]

    @classmethod
    def of(
        cls,
        runner: ExperimentRunner,
        untouched: Record,
        rows: Sequence[Row],
        seeds: Sequence[int],
        count: int,
    ) -> "Results":
        """Collect the finished runs of some rows and seeds, each of `count` sessions."""
        runs, failed = [], []
        for row in rows:
            for seed in seeds:
                found = runner.finished(row.seeded(seed))
                if found and "failed" in found[-1]:
                    failed.append(f"{row.name}, seed {seed}: {found[-1]['failed']}")
                elif len(found) == count:
                    runs.append(Run(row=row, seed=seed, untouched=untouched, sessions=found))
        return cls(untouched=untouched, runs=tuple(runs), failed=tuple(failed))

    def of_row(self, name: str) -> tuple[Run, ...]:
        """Return a row's runs, by seed."""
        return tuple(run for run in self.runs if run.row.name == name)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that have a run, in the plan's order."""
        return tuple({run.row.name: run.row for run in self.runs}.values())

    @cached_property
    def baseline(self) -> dict[str, Any]:
        """The untouched model's scores, under the same names as a run's."""
        scores = self.untouched["scores"]
        found = {name: value for name, value in scores.items() if not isinstance(value, list)}
        found |= {f"{name}/change": 0.0 for name in scores if _is_kept(name)}
        found |= {f"{name}/retention": 1.0 for name in scores if _is_kept(name) and scores[name]}
        if len(scores["sessions/macro"]) > 1:
            found["ut_acc"] = fmean(scores["sessions/macro"])
            if "retained" in scores:
                found["a_acc"] = metrics.average_accuracy(found["ut_acc"], scores["retained"])
        return found | {"gain": 0.0}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A mean over seeds with its standard deviation, 0 for a single seed."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Compute the spread of one value per seed."""
        return cls(
            mean=fmean(values),
            deviation=stdev(values) if len(values) > 1 else 0.0,
            count=len(values),
        )


# The columns of a study's table, each with its score, title and unit.


@dataclass(frozen=True, kw_only=True)
class Column:
    """A score's place in the table."""

    score: str
    title: str
    factor: float = 100.0  # shares as points
    digits: int = 1


Groups = dict[str, list[Column]]


def columns_of(
    retained: Sequence[str], *, retrieval: bool, sessions: int, folds: bool = False
) -> Groups:
    """Return the columns of a study's table, in groups that fit a page.

    With `folds`, they include recalls over galleries of 1,000 images.
    """
    # The UT-Acc that papers report is micro after one session, macro by sessions after several.
    micro, macro = ("ut_acc", "new/macro") if sessions == 1 else ("new", "ut_acc")
    learned = [Column(score=micro, title="UT-Acc micro"), Column(score=macro, title="UT-Acc macro")]
    learned.append(Column(score="gain", title="gain"))
    for name in retained:
        learned += [
            Column(score=f"retained/{name}", title=name),
            Column(score=f"retained/{name}/change", title="change"),
            Column(score=f"retained/{name}/retention", title="retention"),
            Column(score=f"union/{name}", title=f"new ∪ {name}"),
        ]
    if retained:
        learned.append(Column(score="a_acc", title="A-Acc"))
    learned.append(Column(score="training_s", title="training s", factor=1, digits=0))
    groups = {"Learned and retained": learned}
    if sessions > 1:
        groups["Over the sessions"] = [
            Column(score=name, title=name.replace("_", " ")) for name in (*MATRIX_SCORES, "fwt")
        ]
    groups["Negative flips: right before and wrong now, % of all images"] = [
        Column(score=f"flips/{name}/{span}", title=f"{name.removeprefix('retained/')}, {words}")
        for name in (NEW, *(f"retained/{one}" for one in retained))
        for span, words in (("update", "per update"), ("line", "over the line"))
        if sessions > 1 or span == "update"
    ]
    if retrieval:
        groups["Retrieval, and the untouched model's index"] = [
            Column(score="retrieval/image_to_text/1", title="R@1 image to text"),
            Column(score="retrieval/text_to_image/1", title="R@1 text to image"),
            *(_folds() if folds else []),
            Column(score="index/image_cosine", title="cosine images", factor=1, digits=3),
            Column(score="index/caption_cosine", title="cosine texts", factor=1, digits=3),
            Column(score="index/new_on_old/text_to_image", title="new texts, old images R@1"),
            Column(score="index/new_on_old/image_to_text", title="new images, old texts R@1"),
            Column(score="index/neighbours_kept", title="neighbours kept"),
        ]
    return groups


def _folds() -> list[Column]:
    return [
        Column(score="folds_1k/image_to_text/1", title="of 1,000: image to text"),
        Column(score="folds_1k/text_to_image/1", title="of 1,000: text to image"),
    ]


# The comparison of every method with fine-tuning: how much less it forgets and learns.


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


# The table of a study as Markdown, CSV and JSON.


UNTOUCHED = "untouched"


def write(study: Study, results: Results, folder: Path) -> str:
    """Write `table.md`, `table.csv` and `rows.json`; return the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = columns_of(
        study.runner.queries.retained,
        retrieval=study.runner.queries.captions is not None,
        sessions=study.plan.sessions,
        folds=any(name.startswith("folds_1k/") for name in results.untouched["scores"]),
    )
    text = "\n".join(_markdown(study, results, groups)) + "\n"
    (folder / "table.md").write_text(text)
    (folder / "table.csv").write_text(
        _csv(results, [column for group in groups.values() for column in group])
    )
    (folder / "rows.json").write_text(json.dumps(list(_rows(results)), indent=1))
    return text


def _markdown(study: Study, results: Results, groups: Groups) -> Iterator[str]:
    plan, queries = study.plan, study.runner.queries
    yield f"# {plan.name}\n"
    yield (
        f"{len(study.study_data.classes)} new classes in {plan.sessions} session(s), "
        f"{len(study.study_data.train)} training images; scored on the {study.part} part: "
        f"{len(queries.new.entries)} images of new classes"
        + "".join(f", {len(q.entries)} of {n}" for n, q in queries.by_name.items() if "ret" in n)
        + f". Base `{plan.base}`, prompt `{study.prompt}`. Points; mean ± sd over seeds.\n"
    )
    for title, columns in groups.items():
        yield f"## {title}\n"
        yield from _grid(results, columns)
        yield ""
    for failure in results.failed:
        yield f"Failed: {failure}\n"
    if found := comparisons(results, plan.against, queries):
        yield f"## Against `{plan.against}` (95 % intervals)\n"
        yield from _comparisons(found)
        yield ""
    yield "## Recipes\n"
    for row in results.rows:
        recipe = {k: v for k, v in row.recipe.items() if k != "vocabulary_texts"}
        compared = f" (baseline `{row.compared}`)" if row.compared else ""
        yield f"- `{row.name}`{compared}: `{json.dumps(recipe)}`"


def _grid(results: Results, columns: Sequence[Column]) -> Iterator[str]:
    yield f"| row | seeds | {' | '.join(column.title for column in columns)} |"
    yield f"|---|---|{'---|' * len(columns)}"
    before = results.baseline
    cells = [_number(before.get(c.score), c) for c in columns]
    yield f"| {UNTOUCHED} | | {' | '.join(cells)} |"
    for row in results.rows:
        runs = results.of_row(row.name)
        cells = [
            _spread([r.scores[c.score] for r in runs if c.score in r.scores], c) for c in columns
        ]
        yield f"| {row.name} | {len(runs)} | {' | '.join(cells)} |"


def _number(value: float | None, column: Column) -> str:
    return "" if value is None else f"{value * column.factor:.{column.digits}f}"


def _spread(values: Sequence[float], column: Column) -> str:
    if not values:
        return ""
    found = Spread.of(values)
    mean = _number(found.mean, column)
    return f"{mean} ± {_number(found.deviation, column)}" if found.count > 1 else mean


def _comparisons(found: Sequence[Comparison]) -> Iterator[str]:
    measures = list(found[0].shares)
    yield (
        "| row | seeds | UT-Acc difference | "
        + " | ".join(f"share of the loss on {name} spared" for name in measures)
        + " |"
    )
    yield f"|---|---|---|{'---|' * len(measures)}"
    for one in found:
        cells = [f"{100 * one.gain.value:+.1f} {_points(one.gain.interval)}"]
        for share in one.shares.values():
            cells.append(
                f"{100 * share.value:.1f} % {_points(share.interval)}"
                if share.interval
                else f"no firm loss ({100 * share.tuned_loss:.1f})"
            )
        yield f"| {one.row} | {len(one.seeds)} | {' | '.join(cells)} |"


def _points(interval: Interval) -> str:
    return f"[{100 * interval.lower:.1f}, {100 * interval.upper:.1f}]"


def _csv(results: Results, columns: Sequence[Column]) -> str:
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    heads = [f"{column.score} {what}" for column in columns for what in ("mean", "sd")]
    lines.writerow(["row", "seeds", *heads])
    before = results.baseline
    lines.writerow([UNTOUCHED, 0, *(v for c in columns for v in (before.get(c.score, ""), ""))])
    for row in results.rows:
        runs = results.of_row(row.name)
        cells: list[Any] = []
        for column in columns:
            values = [run.scores[column.score] for run in runs if column.score in run.scores]
            found = Spread.of(values) if values else None
            cells += [found.mean, found.deviation] if found else ["", ""]
        lines.writerow([row.name, len(runs), *cells])
    return out.getvalue()


def _rows(results: Results) -> Iterator[dict[str, Any]]:
    yield {"row": UNTOUCHED, "scores": results.untouched["scores"]}
    for run in results.runs:
        yield {
            "row": run.row.name,
            "seed": run.seed,
            **run.row.seeded(run.seed).facts(),
            "scores": run.scores,
            "matrix": run.matrix,
            "sessions": [
                {k: v for k, v in record.items() if k not in {"hits", "recipe"}}
                for record in run.sessions
            ],
        }
