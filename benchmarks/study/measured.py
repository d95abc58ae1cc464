"""The table of what a base's default recipe does to it, as `docs/models.md` collects them."""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.memory import GIB, account
from benchmarks.study.base import joined, title_of
from benchmarks.study.plan import Row
from benchmarks.study.results import UNTOUCHED, Results, Run, Spread
from benchmarks.study.study import Study

HEADS = (
    "base",
    "parameters",
    "row",
    "learned %",
    "kept %",
    "R@1 image to text %",
    "peak GiB",
    "computed GiB",
    "seconds",
    "machine",
    "seeds",
    "commit",
)
SCORES = ("ut_acc", "retained", "retrieval/image_to_text/1")


def write(study: Study, results: Results, folder: Path) -> str:
    """Write `measured.md` and return it: Markdown that can be pasted."""
    text = "\n".join(_lines(study, results)) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measured.md").write_text(text)
    return text


def _lines(study: Study, results: Results) -> Iterator[str]:
    yield _line(*HEADS)
    yield _line(*("---" for _ in HEADS))
    weights = study.weights
    base = (title_of(study.plan.base), f"{weights.parameters:,}")
    before = results.baseline
    yield _line(*base, UNTOUCHED, *(_mean([before.get(score)]) for score in SCORES), *[""] * 6)
    for row in results.rows:
        runs = results.of_row(row.name)
        scored = (_mean([run.scores.get(score) for run in runs]) for score in SCORES)
        yield _line(*base, row.name, *scored, *_costs(study, row, runs))


def _costs(study: Study, row: Row, runs: tuple[Run, ...]) -> tuple[str, ...]:
    records = [record for run in runs for record in run.sessions]
    places = [record["environment"] for record in records]
    recipe = row.seeded(0).recipe
    step = account(study.weights.config["model_cfg"], recipe, classes=len(study.study_data.classes))
    on_cpu = any(place["device"].startswith("cpu") for place in places)
    peak = max(record["peak_bytes"] for record in records) / GIB
    machine = [
        joined([place["device"] for place in places]),
        str(recipe.precision),
        f"torch {joined([place['torch'] for place in places])}",
    ]
    if drivers := [record["driver"] for record in records if "driver" in record]:
        machine.append(f"driver {joined(drivers)}")
    if on_cpu:
        machine.append(f"threads {joined([place['threads'] for place in places])}")
    return (
        f"{peak:.2f}{' (whole process)' if on_cpu else ''}",
        f"{step.total / GIB:.2f}",
        f"{Spread.of([run.scores['training_s'] for run in runs]).mean:.0f}",
        "; ".join(machine),
        joined([str(run.seed) for run in runs]),
        joined([record["commit"] for record in records]),
    )


def _mean(values: list[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    spread = Spread.of(known)
    return f"{spread.mean:.1f}" + (f" ± {spread.deviation:.1f}" if spread.count > 1 else "")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
