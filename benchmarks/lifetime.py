"""Teach one class after another to one model, through the service: `make bench-lifetime`.

Every update teaches a single class, but for the first, which teaches two so that there is something
to tell apart. It starts from the live version and is judged by the gate, which promotes it or not.
At the end all classes are taught at once, to version 1: the accuracy that joint training reaches.

The images are CIFAR-100's (`--data`); the bundled model was trained on 80 of its classes, so the 20
that it has never seen come first. Writes `out/lifetime.json` and a plot.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.calibration.image_pools import UPDATE_CLASSES
from benchmarks.output import OUT, publish
from benchmarks.study.images.folders import class_of, files_of, locate
from benchmarks.study.plan import ImageSet
from demo.preparation import MODEL, create_model
from demo.service import Service, running_service
from demo.show import Show
from perennial import Client, ImageFile
from perennial.types.jobs import Job
from perennial.types.reports import Report, Scores

UNSEEN = frozenset(map(class_of, UPDATE_CLASSES))
SHARED = Path("../shared/data/sets")


def main() -> None:
    """Teach the classes one by one and then all at once; print a row for each update."""
    given = _parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        classes = _classes(given.data, Path(folder) / "data", given.updates + 1, given.per_class)
        with (
            running_service(Path(folder) / "home") as service,
            service.client() as client,
        ):
            create_model(client, Show())
            recipe = json.loads(given.recipe)
            rows = list(_teach_all(service, client, classes, recipe))
    publish("lifetime", rows, recipe=recipe, per_class=given.per_class)
    _plot(rows, OUT / "lifetime.svg")


def _teach_all(
    service: Service,
    client: Client,
    classes: Mapping[str, Sequence[Path]],
    recipe: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Teach the classes one by one to the live version, then all to version 1."""
    names = list(classes)
    for first in (0, *range(2, len(names))):
        taught = names[first : max(2, first + 1)]
        dataset = f"class-{first + 1}"
        _upload(client, dataset, {name: classes[name] for name in taught})
        yield _teach(service, client, dataset, first + len(taught), ", ".join(taught), recipe)
    _upload(client, "all", classes)
    alone = {**recipe, "label_space": "session", "exemplars": "none"}
    yield _teach(service, client, "all", len(classes), "all, at once", alone, parent=1)


def _upload(client: Client, dataset: str, classes: Mapping[str, Sequence[Path]]) -> None:
    client.datasets.create(dataset)
    client.datasets.upload(
        dataset,
        (
            (name, ImageFile(file_name=file.name, data=file.read_bytes()))
            for name, files in classes.items()
            for file in files
        ),
    )
    client.datasets.freeze(dataset)


def _teach(
    service: Service,
    client: Client,
    dataset: str,
    learned: int,
    name: str,
    recipe: Mapping[str, Any],
    parent: int | None = None,
) -> dict[str, Any]:
    """Run one update; return its row."""
    stored = _stored_bytes(service.home)
    ordered = client.jobs.order_update(
        model=MODEL,
        dataset=dataset,
        dataset_version=1,
        recipe=recipe,
        parent=parent,
        auto_promote=parent is None,
    )
    job = client.jobs.wait(ordered["id"])
    assert job["result"] is not None  # the job has succeeded
    report = client.versions.report(MODEL, job["result"]["version"])
    scores = _scores_of(report, "candidate")
    row = {
        "classes": learned,
        "taught": name,
        "verdict": report["verdict"],
        "live": client.aliases.get(MODEL)["version"],
        "UT-Acc": _points(scores["ut_micro"]),
        "ZS-Acc": _points(scores["zero_shot"]),
        "untouched": _points(_scores_of(report, "root")["zero_shot"]),
        "seconds": _seconds(job),
        "MB": round((_stored_bytes(service.home) - stored) / 1e6, 1),
    }
    print(json.dumps(row), flush=True)
    return row


def _scores_of(report: Report, role: str) -> Scores:
    found = {scores["role"]: scores for scores in report["scores"]}
    return found.get(role, found["parent"])  # a first update's parent is the root


def _points(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 1)


def _seconds(job: Job) -> float:
    started, ended = job["started_at"], job["finished_at"]
    assert started is not None and ended is not None  # noqa: PT018 - the job has succeeded
    spent = datetime.fromisoformat(ended) - datetime.fromisoformat(started)
    return round(spent.total_seconds(), 1)


def _stored_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in home.rglob("*") if path.is_file())


def _classes(data: Path, unzipped: Path, count: int, per_class: int) -> dict[str, list[Path]]:
    """Return image files of so many classes of CIFAR-100, unseen ones first."""
    wanted = ImageSet(name="cifar100", data="cifar100", split="train", per_class=per_class)
    found: dict[str, list[Path]] = defaultdict(list)
    for path, name in files_of(wanted, locate("cifar100", [data], unzipped)):
        found[name].append(path)
    order = sorted(found, key=lambda name: (name not in UNSEEN, name))
    return {name: found[name] for name in order[:count]}


def _plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    *line, joint = rows
    with mpl.rc_context({"svg.hashsalt": "perennial", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        steps = [row["classes"] for row in line]
        axes.plot(steps, [row["UT-Acc"] for row in line], label="classes taught (UT-Acc)")
        axes.plot(steps, [row["ZS-Acc"] for row in line], label="kept (ZS-Acc)")
        axes.axhline(joint["UT-Acc"], color="C0", linestyle=":", label="all taught at once")
        axes.axhline(joint["untouched"], color="C1", linestyle=":", label="untouched")
        axes.set(xlabel="updates of one class each", ylabel="accuracy, %", ylim=(0, None))
        axes.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-lifetime ARGS=...", description=__doc__)
    parser.add_argument("--updates", type=int, default=50, help="updates to run (default: 50)")
    parser.add_argument(
        "--per-class", type=int, default=150, help="images of a class (default: 150)"
    )
    parser.add_argument("--recipe", default="{}", help="JSON of a recipe (default: the service's)")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder with cifar100 or its zip")
    return parser


if __name__ == "__main__":
    main()
