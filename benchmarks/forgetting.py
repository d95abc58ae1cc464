"""Compare what ft, lwf and vrlwf forget when they learn Fashion-MNIST: `make bench-forgetting`.

A one-session study of about twenty minutes on two cores, by the code of `make study`: on the demo's
committed pack, or on `../shared/data` if it exists. The same command resumes an interrupted run.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.output import publish
from benchmarks.study.cli import DATA, OUT
from benchmarks.study.outputs import found_by
from benchmarks.study.plan import Plan, parse
from benchmarks.study.results import Comparison, Results, Spread, comparisons
from benchmarks.study.screen import Screen
from benchmarks.study.study import Places, Study, open_study, run_all
from demo import walkthrough as recipes
from demo.images import PACK

SHOWN = ("ut_acc", "gain", "retained/emoji", "retained/emoji/change", "a_acc", "training_s")

# The values that were tuned for these products (docs/studies/forgetting.md).
RECIPES: dict[str, dict[str, Any]] = {
    "ft": {"method": "ft", "learning_rate": 1e-3},
    "lwf": {"method": "lwf", "learning_rate": 3e-4},
    "vrlwf": {"method": "vrlwf", "learning_rate": 3e-4, "replay_weight": 6.0},
}


def plan_of(seeds: list[int], per_class: int) -> Plan:
    """Return a plan that teaches products and measures emoji."""
    shared = (DATA / "fashion_mnist.zip").is_file() and (DATA / "emoji_twemoji.zip").is_file()
    emoji = {"data": "emoji_twemoji" if shared else "twemoji", "split": "heldout_style"}
    return parse(
        {
            "name": "forgetting",
            "seeds": seeds,
            "prompt": recipes.PROMPT,
            "target": {"data": "fashion_mnist", "per_class": per_class},
            "retained": [{"name": "emoji", "text": "cls", **emoji}],
            "retrieval": {**emoji, "images": 500},
            "recipe": {"epochs": 6, "batch_size": 100},
            "rows": [{"name": name, "recipe": recipe} for name, recipe in RECIPES.items()],
        }
    )


def line(name: str, results: Results, against: dict[str, Comparison]) -> dict[str, Any]:
    """Return a row of the published table, in points, with its interval against fine-tuning."""
    runs = results.of_row(name)
    row: dict[str, Any] = {"row": name, "seeds": len(runs)}
    for score in SHOWN:
        found = Spread.of([run.scores[score] for run in runs])
        factor = 1 if score == "training_s" else 100
        row[score] = f"{factor * found.mean:.1f} ± {factor * found.deviation:.1f}"
    spared = against[name].shares["emoji"] if name in against else None
    bounds = spared.interval if spared else None
    row["spared %"] = f"{100 * spared.value:.0f}" if spared else ""
    row["interval"] = f"{100 * bounds.lower:.0f}..{100 * bounds.upper:.0f}" if bounds else ""
    return row


def main() -> None:
    """Run the missing runs and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forgetting", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    parser.add_argument(
        "--per-class", type=int, default=200, metavar="N", help="training images per class"
    )
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--out", type=Path, default=OUT, help="output folder")
    chosen = parser.parse_args()
    plan = plan_of(chosen.seeds, chosen.per_class)
    places = Places(out=chosen.out, data=(DATA, PACK))
    with Screen(Console()) as screen:
        study: Study = open_study(plan, places, screen, threads=chosen.threads)
        run_all(study, plan.rows, plan.seeds, screen)
        results = found_by(study, plan.seeds, screen)
    against = {one.row: one for one in comparisons(results, plan.against, study.runner.queries)}
    rows = [line(row.name, results, against) for row in results.rows]
    publish("forgetting", rows, seeds=chosen.seeds, images=len(study.study_data.train))


if __name__ == "__main__":
    main()
