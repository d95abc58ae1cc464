"""Measure how often thresholds for "none of these" err on images that they were not chosen on.

`make bench-rejection`: the bundled model learns the ten products of the demo's pack by the default
recipe, and is calibrated as the service does it, on the products that are held out and on emoji.
Then every class list of a length is put to other images: products that no version has seen, and
images of another kind (clip art), which show none of the products.

The rates of the report are those of the test parts of the products and emoji that are held out;
`rejected` and `accepted` are those of the other images. With `--also`, classes of a further image
set are listed, which no threshold was chosen for: `<folder>/<split>/<class>`, or a zip of one.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.output import NullMonitor, entry_of, publish
from benchmarks.study.images import files_of, locate
from benchmarks.study.plan import ImageSet
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.bootstrap import decoder
from core.clip.bases import BUNDLED, read_folder
from core.clip.inputs import DecodedImages
from core.clip.model import ClipModel, load
from core.clip.model import publish as publish_weights
from core.datasets.manifests import ManifestEntry, Side
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Precision, PromptTemplate
from core.recipes.rules import Recipe
from core.rejection.queries import MOST_IMAGES, CalibrationQuery, source_of
from core.rejection.rules import (
    DEFAULT_RATE,
    LEARNED,
    Calibration,
    Chosen,
    ErrorRate,
    Scores,
    choose,
)
from core.scoring.evaluator import VersionEvaluator
from core.scoring.rejection import observe
from core.settings import Settings, thread_count
from core.training.trainer import TrainingSpec
from core.values import Digest
from demo.images import captioned, named

CPU = torch.device("cpu")

PROMPT = PromptTemplate("this is a photo of {name} .")

SIZES = (1, 2, 3, 4, 5, 7, 9)

ALSO_SIZES = (2, 5, 10, 20, 50, 99)

BLOCK = 128


class Bench:
    """The version, its thresholds, and images in its store."""

    def __init__(self, artifacts: Artifacts, seed: int, threads: int) -> None:
        self._artifacts = artifacts
        self._sandbox = decoder(Settings())
        products = self.stored(
            [(image.data, image.text) for image in named("fashion_mnist") if image.split == "train"]
        )
        emoji = self.stored([(image.data, image.text) for image in named("twemoji")])
        self.products = tuple(sorted({entry.class_name for entry in products}))
        self.version = self._learn(products, seed, threads)
        self.model = load(self.version, artifacts, CPU).freeze()
        held_out = [entry for entry in products if entry.side is Side.HOLDOUT]
        names = tuple(sorted({entry.class_name for entry in emoji}))
        found = (
            source_of(LEARNED, held_out, self.products, PROMPT),
            source_of("emoji", emoji, names, PROMPT),
        )
        query = CalibrationQuery(sources=tuple(one for one in found if one is not None))
        evaluator = VersionEvaluator(artifacts, device=CPU, batch=BLOCK)
        (answer,) = evaluator.ask(self.model, [query], NullMonitor())
        assert isinstance(answer, Calibration)
        self.calibration = answer

    def stored(self, files: Sequence[tuple[bytes, str]]) -> list[ManifestEntry]:
        """Return images as the service would store them, each once."""
        found: dict[Digest, ManifestEntry] = {}
        for data, name in files:
            row = self._sandbox.decode(data)
            artifact = self._artifacts.put(row.data)
            found[row.pixels] = entry_of(row.pixels, artifact, name)
        return list(found.values())

    def close(self) -> None:
        """End the process that decodes."""
        self._sandbox.close()

    def cosines(self, entries: Sequence[ManifestEntry], classes: Sequence[str]) -> Tensor:
        """Return the cosines (images, classes) of images with classes' prompts."""
        decoded = DecodedImages(self._artifacts, self.model.preprocess.evaluation_pixels)
        with torch.inference_mode():
            columns = self.model.encode_texts(PROMPT.fill_all(classes))
            blocks = [
                self.model.encode_images(
                    torch.stack(
                        [torch.from_numpy(decoded.of(one)) for one in entries[at : at + BLOCK]]
                    )
                )
                for at in range(0, len(entries), BLOCK)
            ]
            return torch.cat(blocks) @ columns.T

    def chosen(self, classes: Sequence[str]) -> Chosen:
        """Return the threshold that a request for these classes gets."""
        return choose(self.calibration, classes, PROMPT.fill_all(classes), DEFAULT_RATE)

    def _learn(self, products: Sequence[ManifestEntry], seed: int, threads: int) -> Digest:
        config, network = read_folder(BUNDLED)
        clip = ClipModel.build(config, network.state_dict(), CPU)
        root = publish_weights(
            clip.config, clip.network.state_dict(), self._artifacts, lambda *_: None
        )
        trainer = UpdateTrainer(self._artifacts, device=CPU, threads=threads)
        precision = Precision.AUTO.on(trainer.native_precisions())
        spec = TrainingSpec(
            parent=root.digest,
            root=root.digest,
            recipe=replace(Recipe(), precision=precision, seed=seed),
            classes=self.products,
            learned=(),
            open_classes=(),
            images=tuple(entry for entry in products if entry.side is Side.TRAIN),
            prompt=PROMPT,
        )
        return trainer.train(spec, resume=None, monitor=NullMonitor()).weights.digest


def rows(bench: Bench, also: Path | None, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of one version."""
    unseen = bench.stored(
        [(image.data, image.text) for image in named("fashion_mnist") if image.split == "test"]
    )
    cosines = bench.cosines(unseen, bench.products)
    scale = float(bench.model.scale)
    for size in SIZES:
        yield _row("unseen products", bench, unseen, bench.products, cosines, size, scale)
    yield _all_products(bench, cosines, scale)
    if also is not None:
        files = files_of(
            ImageSet(name=also.stem, data=str(also), split=split, images=MOST_IMAGES), also
        )
        entries = bench.stored([(path.read_bytes(), name) for path, name in files])
        names = tuple(sorted({entry.class_name for entry in entries}))
        cosines = bench.cosines(entries, names)
        for size in ALSO_SIZES:
            if size < len(names):
                yield _row(also.stem, bench, entries, names, cosines, size, scale)


def _row(
    images: str,
    bench: Bench,
    entries: Sequence[ManifestEntry],
    classes: Sequence[str],
    cosines: Tensor,
    size: int,
    scale: float,
) -> dict[str, Any]:
    chosen = bench.chosen(classes[:size])
    scores = observe(entries, classes, cosines, size, scale).scores[chosen.calibration.statistic]
    return _shown(images, chosen, size, scores)


def _all_products(bench: Bench, cosines: Tensor, scale: float) -> dict[str, Any]:
    """Return the row of the list of all products, with clip art as what shows none of them."""
    others = bench.stored([(image.data, "clip art") for image in captioned("openclipart")])
    chosen = bench.chosen(bench.products)
    statistic = chosen.calibration.statistic
    values = [
        [
            statistic.of(row.topk(2).values.tolist(), float((scale * row).softmax(0).max()))
            for row in found
        ]
        for found in (cosines, bench.cosines(others, bench.products))
    ]
    scores = Scores(known=values[0], unknown=values[1])
    return _shown("unseen products, clip art", chosen, len(bench.products), scores)


def _shown(images: str, chosen: Chosen, size: int, scores: Scores) -> dict[str, Any]:
    threshold = chosen.threshold
    report = (threshold.false_rejection, threshold.false_acceptance)
    below = [
        sum(score < threshold.threshold for score in found) / len(found)
        for found in (scores.known, scores.unknown)
    ]
    return {
        "images": images,
        "classes": size,
        "source": chosen.source.name,
        "covered": chosen.covered,
        "of": chosen.calibration.size,
        "statistic": chosen.calibration.statistic.value,
        "auroc": chosen.calibration.auroc,
        "report rejected, %": _percent(report[0]),
        "report accepted, %": _percent(report[1]),
        "rejected, %": 100 * below[0],
        "accepted, %": 100 * (1 - below[1]),
    }


def _percent(rate: ErrorRate) -> str:
    return f"{100 * rate.rate:.1f} ({100 * rate.lower:.1f} to {100 * rate.upper:.1f})"


def main() -> None:
    """Measure versions of the given seeds and publish the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rejection", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--also", type=Path, help="further images, whose classes are listed")
    parser.add_argument("--split", default="test", help="split of the further images")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    given = parser.parse_args()
    torch.set_num_threads(thread_count(given.threads))
    found = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            also = given.also and locate(str(given.also), [], Path(folder) / "unzipped")
            bench = Bench(LocalArtifacts(Path(folder) / "store"), seed, given.threads)
            try:
                for row in rows(bench, also, given.split):
                    found.append({"seed": seed, **row})
                    print(found[-1], flush=True)
            finally:
                bench.close()
    publish("rejection", found, rate=DEFAULT_RATE)


if __name__ == "__main__":
    main()
