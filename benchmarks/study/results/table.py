"""The table of a study as Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.study.results.columns import Column, Groups, columns_of
from benchmarks.study.results.comparisons import Comparison, comparisons
from benchmarks.study.results.runs import Results, Spread
from benchmarks.study.study import Study
from core.domain.gate.intervals import Interval

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
