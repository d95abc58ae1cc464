"""Teach one class after another to one model, through the service: `make bench-lifetime`.

The first update teaches five classes, so that there is something to tell apart; every later one
teaches a single class. It starts from the live version and is judged by the gate, which promotes it
or not. Then all classes are taught at once, to version 1, as joint training does: by several
numbers of epochs, of which the one counts that does best by the service's own report.

A fifth of all images, of classes and of the retained suite, is never uploaded. In the end, every
promoted version is judged by the gate's own test on these images.

The classes are those of the sets, one set after the other. `--sets cifar100 fashion_mnist digits
letters` has 66; the modules `benchmarks.study.{digits,letters}` write the last two. With `--home`,
a run that was killed goes on where it stopped. Writes `out/lifetime.json` after every update.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.lifetime.judged import Ask, Court, stored, stored_suites
from benchmarks.lifetime.line import FIRST, MODEL, Lifetime
from benchmarks.lifetime.material import Material, read_material
from benchmarks.output import OUT, NullMonitor, show, write
from core.bootstrap import decoder, opened
from core.gate.rows import Policies
from core.images.decoder import Decoder
from core.platform import Platform
from core.registry.read import suites_of
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings
from demo.service import running_service

SHARED = Path("../shared/data/sets")
SETS = ("cifar100", "fashion_mnist")

Row = dict[str, Any]


def main() -> None:
    """Teach the classes one by one and then all at once, and judge what was promoted."""
    given = _parser().parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = given.home or Path(scratch) / "home"
        material = read_material(
            given.sets,
            given.data,
            Path(scratch) / "data",
            classes=given.updates + FIRST - 1,
            per_class=given.per_class,
            suite=given.suite,
            seed=given.seed,
        )
        lines: dict[str, list[Row]] = {"updates": [], "joint": [], "judged": []}
        facts = {name: getattr(given, name) for name in ("sets", "per_class", "suite", "seed")}
        facts |= {"recipe": given.recipe, "policy": given.policy}

        def keep(kind: str, rows: Iterator[Row]) -> None:
            for row in rows:
                lines[kind].append(row)
                print(json.dumps(row), flush=True)
                write("lifetime", _summary(lines), **facts, **lines)

        with running_service(home) as service, service.client() as client:
            lifetime = Lifetime(
                client=client,
                material=material,
                base=given.base,
                recipe={"seed": given.seed, **given.recipe},
                policy=given.policy,
                joint_epochs=given.joint_epochs,
            )
            keep("updates", lifetime.updates())
            keep("joint", lifetime.joint())
        show("lifetime", _summary(lines))
        if len(_promoted(lines)) == 1:
            return  # there is nothing to judge
        settings = Settings(home=home)
        with opened(settings) as platform, closing(decoder(settings)) as reading:
            evaluator = VersionEvaluator(platform.artifacts, device=torch.device("cpu"))
            ask = partial(evaluator.answer, monitor=NullMonitor())
            keep("judged", judged(platform, reading, ask, material, lines))
    show("lifetime", _summary(lines))
    plot(lines, OUT / "lifetime.svg")


def judged(
    platform: Platform,
    reading: Decoder,
    ask: Ask,
    material: Material,
    lines: Mapping[str, Sequence[Row]],
) -> Iterator[Row]:
    """Yield the row of each promoted version and of joint training, on the kept images.

    The service has ended: from now on, its artifact store has the kept images as well.
    """
    with platform.transactions(read_only=True) as work:
        model = work[Models].get(MODEL)
        policy, suites = work[Policies].get(model.policy), suites_of(work, model)
        line = [work[Versions].get(model.id, number) for number in _promoted(lines)]
        others = [work[Versions].get(model.id, one["version"]) for one in lines["joint"]]
    court = Court(
        model=model,
        policy=replace(policy, views=0),  # what counts is the answer that callers get
        suites=stored_suites(suites, material, reading, platform.artifacts),
        images=stored(material.kept, reading, platform.artifacts),
        ask=ask,
    )
    yield from court.rows(line, others)


def _promoted(lines: Mapping[str, Sequence[Row]]) -> list[int]:
    return [1, *(row["version"] for row in lines["updates"] if row["moved"])]


# The answers to what the benchmark asks.


def _summary(lines: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return the table: what was promoted, what of it fails, and how it compares."""
    updates, judged_rows = lines["updates"], lines["judged"]
    by_version = {row["version"]: row for row in judged_rows}
    rows = [
        _answer("updates", len(updates)),
        _answer("promoted", sum(row["moved"] for row in updates)),
        *(
            _answer(verdict, sum(row["verdict"] == verdict for row in updates))
            for verdict in ("inconclusive", "failed")
        ),
        _answer("seconds of an update, median", median(row["seconds"] for row in updates)),
        _answer("of these training", median(row["train s"] for row in updates)),
        _answer("of these evaluating", median(row["evaluate s"] for row in updates)),
    ]
    unsettled: Counter[str] = Counter()
    for row in updates:
        if row["verdict"] == "inconclusive":
            unsettled.update({one["about"] for one in row["open"]})
    rows += [_answer(f"inconclusive updates with {what}", n) for what, n in unsettled.most_common()]
    promoted = [by_version[n] for n in _promoted(lines)[1:] if n in by_version]
    if not promoted or not lines["joint"] or len(by_version) < len(promoted) + 2:
        return rows
    last, untouched, joint = promoted[-1], by_version[1], by_version[best_joint(lines)["version"]]
    rows += [
        _answer("promoted that fail on kept images", sum(bool(r["failing"]) for r in promoted)),
        _answer("measures of these beyond their limit", sum(row["beyond"] for row in promoted)),
        _answer("measures of these", sum(row["measures"] for row in promoted)),
    ]
    own, same = "UT-Acc", "UT-Acc of the line's classes"
    for name, row, score in (
        ("UT-Acc of the line", last, own),
        ("UT-Acc of joint training, of the same classes", joint, same),
        ("UT-Acc of joint training, of all classes", joint, own),
        ("ZS-Acc of the line", last, "ZS-Acc"),
        ("ZS-Acc of joint training", joint, "ZS-Acc"),
        ("ZS-Acc of the untouched model", untouched, "ZS-Acc"),
    ):
        rows.append(_answer(f"{name}, % of {row[f'{score} images']} images", 100 * row[score]))
    return rows


def _answer(what: str, number: float) -> Row:
    return {"what": what, "number": number}


def best_joint(lines: Mapping[str, Sequence[Row]]) -> Row:
    """Return the joint training that does best by the service's report on held-out images."""
    return max(lines["joint"], key=lambda row: row["UT-Acc"] + row["ZS-Acc"])


def plot(lines: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Plot what every promoted version learned and kept, and joint training's as dotted lines."""
    by_version = {row["version"]: row for row in lines["judged"]}
    classes = {row["version"]: row["classes"] for row in lines["updates"]}
    line = _promoted(lines)[1:]
    import matplotlib as mpl  # takes a quarter of a second, which the tests need not wait for
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "perennial", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for score, label in (
            ("UT-Acc", "classes taught (UT-Acc)"),
            ("ZS-Acc", "kept (ZS-Acc)"),
        ):
            shares = [100 * by_version[number][score] for number in line]
            axes.plot([classes[number] for number in line], shares, label=label)
        joint = by_version[best_joint(lines)["version"]]
        same, kept = joint["UT-Acc of the line's classes"], by_version[1]["ZS-Acc"]
        axes.axhline(100 * same, color="C0", linestyle=":", label="all classes at once")
        axes.axhline(100 * kept, color="C1", linestyle=":", label="untouched (ZS-Acc)")
        axes.set(xlabel="classes of the live version", ylabel="%", ylim=(0, 100))
        axes.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
        figure.savefig(path, metadata={"Date": None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-lifetime ARGS=...", description=__doc__)
    add = parser.add_argument
    add("--updates", type=int, default=50, help="updates to run (default: 50)")
    add("--per-class", type=int, default=200, help="most images of a class (default: 200)")
    add("--suite", type=int, help="images of the retained suite (default: all)")
    add("--recipe", type=json.loads, default={}, help="JSON of a recipe (default: the service's)")
    add("--policy", type=json.loads, default={}, help="JSON of a policy's fields that differ")
    add("--joint-epochs", type=int, nargs="+", default=(6, 12, 24), help="(default: 6 12 24)")
    add("--seed", type=int, default=0, help="of the split and of training (default: 0)")
    add("--base", default="bundled", help="model to start from (default: bundled)")
    add("--sets", nargs="+", default=SETS, help=f"sets of images (default: {' '.join(SETS)})")
    add("--data", type=Path, default=SHARED, help="folder with the sets or their zips")
    add("--home", type=Path, help="folder of the service, to go on with a run that was killed")
    return parser


if __name__ == "__main__":
    main()
