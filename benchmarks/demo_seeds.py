"""Run the demo's updates with several seeds, through the service: `make bench-demo-seeds`.

For each seed the first five classes are taught to version 1; the other five are then taught to the
result by the default recipe and by fine-tuning with two learning rates.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.output import publish
from demo import walkthrough as recipes
from demo.images import Products, read_products
from demo.service import running_service
from demo.show import Show
from demo.walkthrough import (
    CHANGES,
    MODEL,
    all_learned,
    changes,
    create_model,
    update,
    upload_products,
)
from perennial.client import Client
from perennial.types import Report, Ruling

ROOT = 1

SECOND: dict[str, dict[str, Any]] = {
    "update 2": {},
    "ft": recipes.FINE_TUNING,
    "ft, gentle": recipes.GENTLE_FINE_TUNING,
}


def rows_of(
    client: Client, show: Show, first: Products, second: Products, seed: int
) -> Iterator[dict[str, Any]]:
    """Run the updates of one seed, beginning with version 1 live, and make it live again."""
    one = update(client, show, f"update 1, seed {seed}", first, {"seed": seed}, parent=ROOT)
    yield line("update 1", seed, one)
    for name, recipe in SECOND.items():
        title = f"{name}, seed {seed}"
        parent = one["version"]
        two = update(client, show, title, second, recipe | {"seed": seed}, parent=parent)
        yield line(name, seed, two)
    if client.aliases.get(MODEL)["version"] != ROOT:
        client.aliases.roll_back(MODEL, to=ROOT, reason="the next seed starts from it")


def line(name: str, seed: int, report: Report) -> dict[str, Any]:
    """Return a report as a row: changes in points with their intervals."""
    found = changes(report)
    return {
        "update": name,
        "seed": seed,
        **{column: _interval(found[column]) if column in found else "" for column in CHANGES},
        "all learned %": round(100 * all_learned(report, "candidate"), 1),
        "verdict": report["verdict"],
    }


def _interval(measure: Ruling) -> str:
    change, lower, upper = (100 * measure[key] for key in ("difference", "interval_lower", "upper"))
    return f"{change:+.1f} ({lower:+.1f} to {upper:+.1f})"


def main() -> None:
    """Upload the classes once, and run the updates of every seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    seeds = parser.parse_args().seeds
    first, second = read_products()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder)) as service,
        service.client() as client,
    ):
        show = Show()
        create_model(client, show)
        for products in (first, second):
            upload_products(client, show, products)
        rows = [row for seed in seeds for row in rows_of(client, show, first, second, seed)]
    publish("demo-seeds", rows, seeds=seeds)


if __name__ == "__main__":
    main()
