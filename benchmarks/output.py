"""The output of every benchmark: a table on the terminal and a JSON file."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OUT = Path(__file__).parent / "out"


def publish(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Print rows as a table and write them, with facts of the machine, to `out/<name>.json`."""
    write(name, rows, **facts)
    show(name, rows)
    print(f"written to {OUT / name}.json")


def write(name: str, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """Write rows, with facts of the machine, to `out/<name>.json`."""
    OUT.mkdir(exist_ok=True)
    machine = machine_with(**facts)
    text = json.dumps({"machine": machine, "rows": rows}, indent=2, default=str)
    (OUT / f"{name}.json").write_text(text)


def machine_with(**facts: Any) -> dict[str, Any]:
    """Return facts of the machine, and further facts that hold for all rows."""
    return {"processor": platform.machine(), "cores": os.cpu_count(), **facts}


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=160).print(table)
