"""Choose the demo's learning rates and replay weight on validation data: `make bench-tune-demo`.

Every method learns the demo's images with each learning rate (VR-LwF also with each replay
weight), with seeds that the demo does not use. It is scored on images that the demo's verdicts
never use: the validation parts of suite and holdout, and pack images that the demo does not
upload. Fine-tuning is tuned by accuracy on the new classes, VR-LwF by A-Acc, the mean of that and
of the accuracy on the suite.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.null_monitor import NullMonitor
from benchmarks.output import publish
from core.adapters.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.pretrained import BaseImporter
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part, Side
from core.domain.evaluation.query import ClassAnswers, ClassQuery
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Recipe
from core.domain.values import Digest
from core.evaluation.evaluator import VersionEvaluator
from core.learning.trainer import UpdateTrainer
from core.ports import Decoder, TrainingSpec
from core.settings import Settings
from demo import recipes
from demo.pack_reader import PackImage, by_class, named
from demo.walkthrough import SHOWN_PER_CLASS, UPLOADED_PER_CLASS

AIMS = {"ft": "new", "vrlwf": "a_acc"}


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images to learn from, and the queries that settings are chosen by."""

    train: tuple[ManifestEntry, ...]
    products: ClassQuery
    suite: ClassQuery


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The service's own trainer and evaluator, without the service."""

    trainer: UpdateTrainer
    evaluator: VersionEvaluator
    root: Digest
    data: Data

    def accuracies(self, version: Digest) -> tuple[float, float]:
        """Return a version's accuracies on the new classes and on the suite."""
        queries = (self.data.products, self.data.suite)
        shares = []
        answers = self.evaluator.answer(version, queries, NullMonitor())
        for query, given in zip(queries, answers, strict=True):
            assert isinstance(given, ClassAnswers)
            shares.append(mean(given.hits(query)))
        return shares[0], shares[1]

    def run(self, setting: Mapping[str, Any], seed: int) -> tuple[float, float, float]:
        """Train; return the accuracies on the new classes and the suite, and the seconds taken."""
        recipe = Recipe.from_json({**recipes.COMMON, **setting, "seed": seed})
        spec = TrainingSpec(
            parent=self.root,
            root=self.root,
            recipe=replace(recipe, precision=recipe.precision.on(self.trainer.native_precisions())),
            classes=self.data.products.classes,
            learned=(),
            open_classes=(),
            images=self.data.train,
            prompt=self.data.products.prompt,
        )
        began = time.perf_counter()
        weights = self.trainer.train(spec, resume=None, monitor=NullMonitor()).weights
        spent = time.perf_counter() - began
        return *self.accuracies(weights.digest), spent


def read_data(artifacts: LocalArtifacts, decode: Decoder) -> Data:
    """Read the demo's images and split them as the demo does, without the verdicts' test parts."""
    train, test = by_class("fashion_mnist", "train"), by_class("fashion_mnist", "test")
    pool = {name: train[name] + test[name] for name in sorted(train)}
    used = UPLOADED_PER_CLASS
    uploaded = list(_store(artifacts, decode, _flat(rows[:used] for rows in pool.values())))
    spare = _store(
        artifacts, decode, _flat(rows[used + SHOWN_PER_CLASS :] for rows in pool.values())
    )
    held_out = [e for e in uploaded if e.side is Side.HOLDOUT and e.part is Part.VALIDATION]
    emoji = [e for e in _store(artifacts, decode, named("twemoji")) if e.part is Part.VALIDATION]
    names = tuple(sorted({image.text for image in named("twemoji")}))
    prompt = PromptTemplate(recipes.PROMPT)
    return Data(
        train=tuple(entry for entry in uploaded if entry.side is Side.TRAIN),
        products=ClassQuery(
            entries=(*held_out, *spare), classes=tuple(sorted(train)), prompt=prompt
        ),
        suite=ClassQuery(entries=tuple(emoji), classes=names, prompt=prompt),
    )


def _flat(groups: Iterable[list[PackImage]]) -> list[PackImage]:
    return [image for group in groups for image in group]


def _store(
    artifacts: LocalArtifacts, decode: Decoder, images: Iterable[PackImage]
) -> Iterator[ManifestEntry]:
    for image in images:
        decoded = decode.decode(image.data)
        artifact = artifacts.put(decoded.data)
        yield ManifestEntry(pixels=decoded.pixels, artifact=artifact, texts=(image.text,))


def settings_of(rates: list[float], weights: list[float]) -> list[dict[str, Any]]:
    """Return every setting to try."""
    tuning = [{"method": "ft", "learning_rate": rate} for rate in rates]
    return tuning + [
        {"method": "vrlwf", "learning_rate": rate, "replay_weight": weight}
        for rate in rates
        for weight in weights
    ]


def main() -> None:
    """Try every setting with every seed and print what each method would choose."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune_demo", description=__doc__)
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1e-4, 3e-4, 1e-3], help="learning rates"
    )
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[1, 3, 6], help="replay weights of VR-LwF"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102], help="training seeds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifacts = LocalArtifacts(Path(folder))
        sandbox = decoder(Settings())
        try:
            data = read_data(artifacts, sandbox)
        finally:
            sandbox.close()
        root, _ = BaseImporter(artifacts, folders=()).load("bundled", NullMonitor())
        device = torch.device("cpu")
        bench = Bench(
            trainer=UpdateTrainer(artifacts, device=device, threads=0),
            evaluator=VersionEvaluator(artifacts, device=device),
            root=root.digest,
            data=data,
        )
        before = bench.accuracies(root.digest)
        rows: list[dict[str, Any]] = []
        for setting in settings_of(arguments.rates, arguments.weights):
            results = [bench.run(setting, seed) for seed in arguments.seeds]
            new, kept, spent = (mean(column) for column in zip(*results, strict=True))
            row = {"method": setting["method"], "learning_rate": setting["learning_rate"]}
            row |= {"replay_weight": setting.get("replay_weight", ""), "new": new, "suite": kept}
            row |= {"gain": new - before[0], "change": kept - before[1], "a_acc": (new + kept) / 2}
            rows.append(row | {"seconds": spent})
            print(row, flush=True)
    publish("tune-demo", rows, seeds=arguments.seeds, before=before)
    for method, aim in AIMS.items():
        print(f"{method}, by {aim}: {max(of_method(rows, method), key=itemgetter(aim))}")


def of_method(rows: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    """Return the rows of one method."""
    return [row for row in rows if row["method"] == method]


if __name__ == "__main__":
    main()
