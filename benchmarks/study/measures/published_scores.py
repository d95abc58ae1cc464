"""A check of the matrix scores against published accuracy matrices."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from core.domain.evaluation import metrics
from core.domain.evaluation.metrics import Matrix

SCORES: Mapping[str, Callable[[Matrix], float]] = {
    "transfer": metrics.transfer_by_columns,
    "avg": metrics.average,
    "last": metrics.last_accuracy,
    "bwt": metrics.backward_transfer,
}

TOLERANCE = 0.05 + 1e-9  # half a unit of the first decimal


def compare(methods: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return our and the published score per method, and whether they agree to one decimal."""
    return [
        {
            "method": name,
            "score": score,
            "ours": formula(given["matrix"]),
            "published": given[score],
            "agree": abs(formula(given["matrix"]) - given[score]) <= TOLERANCE,
        }
        for name, given in methods.items()
        for score, formula in SCORES.items()
    ]


def main(path: Path, console: Console) -> int:
    """Print the comparison to one decimal; return 1 if a score differs by more than rounding."""
    rows = compare(json.loads(path.read_bytes())["methods"])
    table = Table(title=path.name)
    table.add_column("method")
    for score in SCORES:
        table.add_column(score, justify="right")
        table.add_column("published", justify="right", style="dim")
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        cells = [f"{row[which]:.1f}" for row in own for which in ("ours", "published")]
        table.add_row(name, *cells)
    console.print(table)
    apart = [row for row in rows if not row["agree"]]
    for row in apart:
        console.print(f"differs: {row}", markup=False)
    if not apart:
        console.print(f"all {len(rows)} scores are within 0.05 of the published ones")
    return 1 if apart else 0
