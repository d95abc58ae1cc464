"""Run the demo's two updates with three seeds, through the service: `make bench-demo-seeds`.

Also run fine-tuning with the learning rate that VR-LwF's tuning criterion, A-Acc, would choose.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.output import publish
from demo import recipes
from demo.service import running_service
from demo.show import Show
from demo.walkthrough import create_model, update, upload_products
from perennial.types.reports import Report

METHODS = {
    "vrlwf": recipes.VRLWF,
    "ft": recipes.FINE_TUNING,
    "ft, gentle": recipes.GENTLE_FINE_TUNING,
}


def line(method: str, seed: int, report: Report) -> dict[str, Any]:
    """Return a report as a row: each measure's difference and interval in points."""
    row: dict[str, Any] = {"method": method, "seed": seed, "verdict": report["verdict"]}
    for measure in report["measures"]:
        name = "gain" if measure["kind"] == "gain" else f"{measure['name']} {measure['kind']}"
        row[name] = round(100 * measure["difference"], 1)
        row[f"{name} interval"] = f"{100 * measure['lower']:.1f}..{100 * measure['upper']:.1f}"
    return row


def main() -> None:
    """Upload the classes once, then update version 1 by every method with every seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_seeds", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    seeds = parser.parse_args().seeds
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder)) as service,
        service.client() as client,
    ):
        show = Show()
        create_model(client, show)
        dataset, _ = upload_products(client, show)
        for seed in seeds:
            for method, recipe in METHODS.items():
                title = f"{method}, seed {seed}"
                report = update(client, show, 4, title, dataset, recipe | {"seed": seed})
                rows.append(line(method, seed, report))
    publish("demo-seeds", rows, seeds=seeds)
    for seed in seeds:
        gains = {row["method"]: row["gain"] for row in rows if row["seed"] == seed}
        print(f"seed {seed}: VR-LwF has {gains['vrlwf'] / gains['ft']:.0%} of fine-tuning's gain")


if __name__ == "__main__":
    main()
