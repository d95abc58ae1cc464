"""Teach one class after another to one model, through the service: `make bench-lifetime`.

The first update teaches five classes, so that there is something to tell apart; every later one
teaches a single class. It starts from the live version and is judged by the gate, which promotes it
or not. At the end all classes are taught at once, to version 1, as joint training does.

The classes are those of the sets, one set after the other; of CIFAR-100 only those that the bundled
model has never seen. `--sets cifar100 fashion_mnist digits letters` has 66; the modules
`benchmarks.study.images.{digits,letters}` write the last two. Writes `out/lifetime.json` after
every update, and a plot at the end.
"""

import argparse
import json
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.calibration.sample import UPDATE_CLASSES
from benchmarks.output import OUT, show, write
from benchmarks.study.images import files_of, locate
from benchmarks.study.measures import neighbours_kept
from benchmarks.study.plan import ImageSet
from core.clip.bases import read_folder
from core.clip.inputs import read_image
from core.clip.model import ClipModel
from demo import images as pack_reader
from demo.service import running_service
from demo.show import Show
from demo.walkthrough import MODEL, create_model
from perennial.client import Client
from perennial.requests import ImageFile
from perennial.types import Job, Report, Scores

# An index of image vectors, compared with the vectors of later versions.


_BATCH = 128


class ImageIndex:
    """The vectors of some images by a model's version 1."""

    def __init__(self, client: Client, model: str, images: Sequence[bytes]) -> None:
        self._client = client
        self._model = model
        self._images = images
        self._vectors = self._encode(1)

    def neighbours_kept(self, version: int) -> float:
        """Return the share of each image's ten nearest neighbours that are still the same."""
        return neighbours_kept(self._vectors, self._encode(version))

    @torch.inference_mode()
    def _encode(self, version: int) -> Tensor:
        model = self._downloaded(version)
        rows = [model.preprocess.evaluation_pixels(read_image(image)) for image in self._images]
        parts = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
        return torch.cat([model.encode_images(torch.stack(part)) for part in parts])

    def _downloaded(self, version: int) -> ClipModel:
        with tempfile.TemporaryDirectory() as place:
            folder, tar = Path(place), Path(place) / "version.tar"
            self._client.versions.download(self._model, version, to=tar)
            with tarfile.open(tar) as opened:
                opened.extractall(folder, filter="data")
            (config,) = folder.rglob("open_clip_config.json")
            settings, network = read_folder(config.parent)
        return ClipModel.build(settings, network.state_dict(), torch.device("cpu"))


# The plot of a line of updates.


def plot(line: Sequence[Mapping[str, Any]], joint: Mapping[str, Any], path: Path) -> None:
    """Plot what every update of a line learned and kept, and joint training's as dotted lines."""
    with mpl.rc_context({"svg.hashsalt": "perennial", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        steps = [row["classes"] for row in line]
        axes.plot(steps, [row["UT-Acc"] for row in line], label="classes taught (UT-Acc)")
        axes.plot(steps, [row["ZS-Acc"] for row in line], label="kept (ZS-Acc)")
        axes.plot(steps, [row["index"] for row in line], label="nearest neighbours as in version 1")
        axes.axhline(joint["UT-Acc"], color="C0", linestyle=":", label="all classes at once")
        axes.axhline(joint["untouched"], color="C1", linestyle=":", label="untouched (ZS-Acc)")
        axes.set(xlabel="classes taught: five, then one per update", ylabel="%", ylim=(0, 100))
        axes.legend(frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
        figure.savefig(path, metadata={"Date": None})


SHARED = Path("../shared/data/sets")

SETS = ("cifar100", "fashion_mnist")

FIRST = 5  # classes of the first update

INDEXED = 500  # emoji in the index that is compared


def main() -> None:
    """Teach the classes one by one and then all at once; print a row for each update."""
    given = _parser().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = _classes(given.sets, given.data, Path(folder) / "data", given.per_class)
        classes = dict(list(found.items())[: given.updates + FIRST - 1])
        with (
            running_service(Path(folder) / "home") as service,
            service.client() as client,
        ):
            create_model(client, Show())
            images = [image.data for image in pack_reader.named("twemoji")[:INDEXED]]
            lifetime = Lifetime(
                home=service.home,
                client=client,
                index=ImageIndex(client, MODEL, images),
                recipe=json.loads(given.recipe),
            )
            rows = []
            for row in lifetime.rows(classes):
                rows.append(row)
                write("lifetime", rows, recipe=lifetime.recipe, per_class=given.per_class)
    show("lifetime", rows)
    plot(rows[:-1], rows[-1], OUT / "lifetime.svg")


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """The updates of one model, ordered from a service."""

    home: Path  # of the service
    client: Client
    index: ImageIndex
    recipe: Mapping[str, Any]

    def rows(self, classes: Mapping[str, Sequence[Path]]) -> Iterator[dict[str, Any]]:
        """Teach the classes one by one to the live version, then all to version 1."""
        names = list(classes)
        for first in (0, *range(FIRST, len(names))):
            taught = names[first : max(FIRST, first + 1)]
            dataset = f"class-{first + 1}"
            self._upload(dataset, {name: classes[name] for name in taught})
            yield self._teach(dataset, first + len(taught), ", ".join(taught))
        self._upload("all", classes)
        yield self._teach("all", len(classes), "all, at once", parent=1)

    def _upload(self, dataset: str, classes: Mapping[str, Sequence[Path]]) -> None:
        self.client.datasets.create(dataset)
        self.client.datasets.upload(
            dataset,
            (
                (name, ImageFile(file_name=file.name, data=file.read_bytes()))
                for name, files in classes.items()
                for file in files
            ),
        )
        self.client.datasets.freeze(dataset)

    def _teach(
        self, dataset: str, learned: int, name: str, parent: int | None = None
    ) -> dict[str, Any]:
        """Run one update; return its row."""
        stored = _stored_bytes(self.home)
        ordered = self.client.jobs.order_update(
            model=MODEL,
            dataset=dataset,
            dataset_version=1,
            recipe=self.recipe,
            parent=parent,
            auto_promote=parent is None,
        )
        job = self.client.jobs.wait(ordered["id"])
        assert job["result"] is not None  # the job has succeeded
        version = job["result"]["version"]
        report = self.client.versions.report(MODEL, version)
        scores = _scores_of(report, "candidate")
        row = {
            "classes": learned,
            "taught": name,
            "verdict": report["verdict"],
            "live": self.client.aliases.get(MODEL)["version"],
            "UT-Acc": _points(scores["ut_micro"]),
            "ZS-Acc": _points(scores["zero_shot"]),
            "untouched": _points(_scores_of(report, "root")["zero_shot"]),
            "index": _points(self.index.neighbours_kept(version)),
            "seconds": _seconds(job),
            "MB": round((_stored_bytes(self.home) - stored) / 1e6, 1),
        }
        print(json.dumps(row), flush=True)
        if report["verdict"] != "passed":
            print(*report["reasons"], sep="\n", flush=True)
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


def _classes(
    sets: Sequence[str], data: Path, unzipped: Path, per_class: int
) -> dict[str, list[Path]]:
    """Return the image files of the sets' classes that the bundled model has never seen."""
    found: dict[str, list[Path]] = defaultdict(list)
    for name in sets:
        classes = tuple(UPDATE_CLASSES) if name == "cifar100" else ()
        wanted = ImageSet(name=name, data=name, split="train", per_class=per_class, classes=classes)
        for path, text in files_of(wanted, locate(name, [data], unzipped)):
            found[text].append(path)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench-lifetime ARGS=...", description=__doc__)
    parser.add_argument("--updates", type=int, default=50, help="most updates to run (default: 50)")
    parser.add_argument(
        "--per-class", type=int, default=150, help="images of a class (default: 150)"
    )
    parser.add_argument("--recipe", default="{}", help="JSON of a recipe (default: the service's)")
    parser.add_argument(
        "--sets", nargs="+", default=SETS, help=f"sets of images (default: {' '.join(SETS)})"
    )
    parser.add_argument(
        "--data", type=Path, default=SHARED, help="folder with the sets or their zips"
    )
    return parser


if __name__ == "__main__":
    main()
