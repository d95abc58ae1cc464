"""The command line of the studies."""

import argparse
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from benchmarks.study import measures as published
from benchmarks.study.base import folder_name
from benchmarks.study.outputs import write_all
from benchmarks.study.plan import Plan, PlanInvalid, Row, read
from benchmarks.study.screen import Screen
from benchmarks.study.study import Places, Study, open_study, run_all
from core.datasets.manifests import Part
from core.errors import PerennialError

# The choice of each row's values on validation parts, with seeds that no study uses.


SCORES = ("ut_acc", "retained", "a_acc")

Found = Mapping[str, list[dict[str, Any]]]


def grid_points(plan: Plan, row: Row) -> list[tuple[dict[str, Any], Row]]:
    """Return every point of a row's grids once: its values, and the row with them.

    Raises PlanInvalid when the plan has no grid for the row.
    """
    grids = plan.grids.get(row.name)
    if not grids:
        raise PlanInvalid(f"the plan has no [tune.grid.{row.name}]")
    points: list[dict[str, Any]] = []
    for grid in grids:
        for values in product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            if point not in points:
                points.append(point)
    return [
        (
            point,
            replace(row, name=f"{row.name} {_words(point)}", recipe={**row.recipe, **point}),
        )
        for point in points
    ]


def search(study: Study, rows: Sequence[Row], seeds: Sequence[int], screen: Screen) -> Found:
    """Run every row's grid; return its points with mean validation scores, best first.

    The row's criterion decides the order. Rows without a grid are left out, as are those of which
    another process still runs a part. Raises PlanInvalid without seeds, or with a study's.
    """
    if not seeds:
        raise PlanInvalid("tuning needs seeds of its own: [tune] seeds, or --seeds")
    if shared := set(seeds) & set(study.plan.seeds):
        raise PlanInvalid(f"seed {min(shared)} is one of the study's: tune with others")
    found = {}
    for row in [row for row in rows if row.name in study.plan.grids]:
        points = grid_points(study.plan, row)
        run_all(study, [tried for _, tried in points], seeds, screen)
        if not all(
            study.runner.is_done(tried.seeded(seed)) for _, tried in points for seed in seeds
        ):
            screen.say(f"{row.name}: another process has not finished its part; not chosen yet")
            continue
        scored = [_scored(study, point, tried, seeds) for point, tried in points]
        complete = [one for one in scored if one["seeds"]]
        criterion = study.plan.criteria.get(row.name, "a_acc")
        found[row.name] = sorted(complete, key=itemgetter(criterion), reverse=True)
    return found


def _scored(study: Study, point: dict[str, Any], row: Row, seeds: Sequence[int]) -> dict[str, Any]:
    scores = [
        record["scores"]
        for seed in seeds
        for record in study.runner.finished(row.seeded(seed))[-1:]
        if "scores" in record
    ]
    if len(scores) < len(seeds):
        return {"values": point, "seeds": 0}
    return {
        "values": point,
        "seeds": len(scores),
        **{name: fmean(one[name] for one in scores) for name in SCORES},
    }


def publish(found: Found, path: Path, console: Console) -> None:
    """Print every point, and add the best of each row to the file of tuned values."""
    table = Table(title="on validation parts")
    for title in ("row", "values", "UT-Acc", "retained", "A-Acc", ""):
        table.add_column(title)
    for row, points in found.items():
        for rank, one in enumerate(points):
            numbers = [f"{100 * one[name]:.1f}" for name in SCORES]
            table.add_row(row, _words(one["values"]), *numbers, "" if rank else "chosen")
    console.print(table)
    chosen = json.loads(path.read_bytes()) if path.is_file() else {}
    chosen |= {row: points[0] for row, points in found.items() if points}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(chosen, indent=2) + "\n")
    console.print(f"chosen values: {path}", markup=False)


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(_pairs(values))


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


OUT = Path(__file__).parents[1] / "out" / "study"

PLANS = Path(__file__).parent / "plans"

PACK = Path(__file__).parents[2] / "demo" / "pack"

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "sets"

ABOUT = """\
Run the paper's protocol on any image folders, with the service's own trainer and evaluator.

  one        teach all new classes in one update, with every row (recipe) and seed
  many       teach them in several sessions of equal size, each update on top of the previous one
  tune       score a grid of hyperparameters per row on validation parts only
  table      write the tables and plots again from finished runs
  published  check the matrix metrics against published accuracy matrices
"""

EXAMPLES = """\
What a model's default recipe does to it, on images of the repository:
  python -m benchmarks.study one --base ViT-B-32:openai
  python -m benchmarks.study one --base my/folder
  python -m benchmarks.study one --base ViT-L-14:random --seeds 0     # a dry run without weights

A plan is a TOML file, or a name below benchmarks/study/plans:
  python -m benchmarks.study one cifar20 --data /tmp/data --seeds 0 --rows ft vrlwf
  python -m benchmarks.study many cifar20_sessions --sessions 5
Without a plan, by options (folders are FOLDER/<split>/<class>/<file>):
  python -m benchmarks.study one --name birds --target my/birds --retained my/flowers \\
      --row 'ft={"method": "ft"}' --row 'vrlwf={"method": "vrlwf", "replay_weight": 3}'

Finished runs are stored by a hash of everything that determines their result, so an interrupted
study resumes, and the same command started twice in parallel shares the work.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    An invalid plan or an error of the service prints one line and returns 2.
    """
    chosen = _parser().parse_args(arguments)
    console = Console()
    try:
        if chosen.command == "published":
            return published.main(chosen.file, console)
        plans = _plans(chosen)
        if chosen.command == "tune":
            _tune(plans, chosen, console)
        else:
            for plan in plans:
                _study(plan, chosen, console)
    except PlanInvalid as error:
        console.print(f"study: {error}", markup=False)
    except PerennialError as error:
        console.print(f"study: {error.code}: {error.message}", markup=False)
    except KeyboardInterrupt:
        console.print("stopped; run the same command to continue after the last finished run")
        return 128 + signal.SIGINT
    else:
        return 0
    return 2


def _study(plan: Plan, chosen: argparse.Namespace, console: Console) -> None:
    places, seeds = _places(chosen), tuple(chosen.seeds or plan.seeds)
    with Screen(console) as screen:
        study = open_study(
            plan,
            places,
            screen,
            part=Part(chosen.part),
            device=_device(chosen),
            threads=chosen.threads,
        )
        rows = study.plan.chosen(chosen.rows)
        if chosen.command != "table":
            run_all(study, rows, seeds, screen)
        shown = tuple(dict.fromkeys((*plan.seeds, *seeds)))
        folder = places.out / plan.name
        if study.part is Part.VALIDATION:
            folder = folder.with_name(f"{plan.name}-validation")
        text = write_all(study, shown, folder, screen, measured=_measures(chosen))
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {folder}", markup=False)


def _tune(plans: Sequence[Plan], chosen: argparse.Namespace, console: Console) -> None:
    """Tune each plan, but none whose values are those of one before it."""
    paths = [plan.tuned or _places(chosen).out / plan.name / "tuned.json" for plan in plans]
    for place, (plan, path) in enumerate(zip(plans, paths, strict=True)):
        if path not in paths[:place]:
            publish(_found(plan, chosen, console), path, console)


def _found(plan: Plan, chosen: argparse.Namespace, console: Console) -> Found:
    with Screen(console) as screen:
        study = open_study(
            plan,
            _places(chosen),
            screen,
            part=Part.VALIDATION,
            device=_device(chosen),
            threads=chosen.threads,
        )
        seeds = tuple(chosen.seeds or plan.tuning_seeds)
        return search(study, study.plan.chosen(chosen.rows), seeds, screen)


def _plans(chosen: argparse.Namespace) -> tuple[Plan, ...]:
    """Return the plans of the options: one, or one for each set. Raises PlanInvalid."""
    path = PLANS / "preset.toml" if _measures(chosen) else None
    if chosen.plan:
        named = PLANS / f"{chosen.plan}.toml"
        path = named if named.is_file() else Path(chosen.plan)
    changes = {
        name: value
        for name in ("name", "base", "prompt", "against", "sessions")
        if (value := getattr(chosen, name, None)) is not None
    }
    if _measures(chosen):
        changes.setdefault("name", folder_name(chosen.base))
    if chosen.target:
        changes |= {"target": {"data": chosen.target, "classes": chosen.classes or []}}
        changes.setdefault("name", Path(chosen.target).name)
    if chosen.retained:
        changes["retained"] = [
            {"data": data, "split": "test"} | ({"classes": "rest"} if data == chosen.target else {})
            for data in chosen.retained
        ]
    if chosen.captions:
        data, _, split = chosen.captions.rpartition("/")
        changes["retrieval"] = {"data": data, "split": split}
    if chosen.row:
        changes["rows"] = [_row(text) for text in chosen.row]
    plans = read(path, changes)
    if chosen.sets:
        plans = tuple(_of_name(plans, name) for name in chosen.sets)
    for plan in plans:
        if chosen.command == "one" and plan.sessions != 1:
            raise PlanInvalid(f"{plan.name} has {plan.sessions} sessions: run it with 'many'")
        if chosen.command == "many" and plan.sessions < 2:
            raise PlanInvalid("set at least 2 sessions: --sessions K, or sessions = K in the plan")
    return tuple(plan.cut(chosen.per_class) for plan in plans) if chosen.per_class else plans


def _of_name(plans: Sequence[Plan], name: str) -> Plan:
    for plan in plans:
        if plan.name.endswith(f"-{name}"):
            return plan
    raise PlanInvalid(f"no set {name!r}; there are: {', '.join(plan.name for plan in plans)}")


def _row(text: str) -> dict[str, Any]:
    name, _, recipe = text.partition("=")
    try:
        return {"name": name, "recipe": json.loads(recipe or "{}")}
    except json.JSONDecodeError as error:
        raise PlanInvalid(f"--row {text!r}: the recipe is not valid JSON: {error}") from error


def _measures(chosen: argparse.Namespace) -> bool:
    """Return whether a base is to be measured on the repository's own images."""
    alone = chosen.base and not chosen.plan and not chosen.target
    return bool(alone) and chosen.command in ("one", "table")


def _device(chosen: argparse.Namespace) -> str:
    """Return the device named; otherwise the CPU, and for a base to be measured a GPU if any."""
    found = "cuda" if _measures(chosen) and torch.cuda.is_available() else "cpu"
    return chosen.device or found


def _places(chosen: argparse.Namespace) -> Places:
    if _measures(chosen):
        return Places(out=chosen.out / "preset", data=(PACK,))
    return Places(out=chosen.out, data=(*chosen.data, DATA))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    words = {
        "one": "teach all new classes in one session",
        "many": "teach the new classes in several sessions",
        "tune": "choose learning rates and weights on validation parts",
        "table": "write tables and plots again",
    }
    for name, about in words.items():
        command = commands.add_parser(name, help=about, description=about)
        _add_options(command)
    check = commands.add_parser("published", help="check the matrix metrics")
    check.add_argument("file", type=Path, help="JSON with a matrix and its scores per method")
    return parser


def _add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("plan", nargs="?", help="a TOML file, or a name below plans/")
    what = command.add_argument_group("study (these options override the plan)")
    what.add_argument("--name", help="name of the study and of its output folder")
    what.add_argument(
        "--target", metavar="FOLDER", help="the new classes, with splits train and test"
    )
    what.add_argument("--classes", nargs="+", help="the new classes (default: all folders)")
    what.add_argument(
        "--retained",
        nargs="+",
        metavar="FOLDER",
        help="sets not to be forgotten (split test); the target folder: its other classes",
    )
    what.add_argument("--captions", metavar="FOLDER/SPLIT", help="a captioned set, for retrieval")
    what.add_argument(
        "--row", action="append", metavar="NAME=JSON", help="a row's name and its recipe"
    )
    what.add_argument("--base", help="what a model is created from, or NAME:random")
    what.add_argument("--prompt", help="prompt template (default: the base's own)")
    what.add_argument("--against", help="row that the others are compared with (default: ft)")
    what.add_argument(
        "--sessions", type=int, metavar="K", help="number of sessions of equal size, in class order"
    )
    what.add_argument("--per-class", type=int, metavar="N", help="most training images per class")
    which = command.add_argument_group("selection")
    which.add_argument("--rows", nargs="+", default=[], help="run only these rows")
    which.add_argument("--sets", nargs="+", default=[], help="of a plan of several sets: these")
    which.add_argument("--seeds", nargs="+", type=int, help="run only these seeds")
    which.add_argument(
        "--part",
        choices=[part.value for part in Part],
        default=Part.TEST.value,
        help="part of each set to score: test for results, validation for choosing hyperparameters",
    )
    where = command.add_argument_group("places")
    where.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder with image folders or zips (in addition to ../shared/data/sets)",
    )
    where.add_argument(
        "--out", type=Path, default=OUT, help="output folder (default: benchmarks/out/study)"
    )
    where.add_argument(
        "--device", help="cpu, cuda or cuda:1 (default: cpu; one --base: a GPU if any)"
    )
    where.add_argument("--threads", type=int, default=0, help="0: one per core")
