"""Measure what an old index of images loses by an update, and what a bridge wins back.

`make bench-bridge`: the bundled model learns ten products of Fashion-MNIST by several recipes, as
in the service. Then each version searches among images that no update has seen, in an index of the
untouched model's vectors: as it is, mapped by the bridge, and embedded again. The bridge is fitted
on validation parts and measured on test parts, by the code of the job `compare_index`. `new
products` are held-out images of the classes just learned, as the holdout of an update.
The images are those of the committed pack, and photographs of `../shared/data` if it exists.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.console import Console

from benchmarks.output import show, write
from benchmarks.study.cli import DATA, OUT, PLANS
from benchmarks.study.images import ImageCache, RetainedSet, StudyData, StudyDataReader, on_part
from benchmarks.study.layered import LayeredArtifacts
from benchmarks.study.measures import SessionSpecs
from benchmarks.study.plan import ImageSet, Plan, parse, read, run_config_of
from benchmarks.study.screen import Screen
from core.artifacts.local import LocalArtifacts
from core.artifacts.store import Artifacts
from core.bootstrap import decoder
from core.clip.bases import BaseImporter
from core.datasets.manifests import Part
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import PromptTemplate
from core.scoring.embedder import VersionEmbedder
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings, thread_count
from core.values import Digest
from core.vectors.embedder import IndexComparison
from core.vectors.rules import SearchedSuite, SearchMeasure, judge_index, measure_search
from demo import walkthrough as recipes
from demo.images import PACK

# The data of the bridge's benchmark: suites of several kinds, and updates by several recipes.


NEW = "new products"

# Values that were tuned for these products (docs/studies/forgetting.md).
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ft": {"method": "ft", "learning_rate": 1e-3},
    "top": {"preset": "top"},  # the default
    "whole": {"preset": "whole"},
    "crossed": {"method": "vrlwf_cross", "replay_weight": 6.0, "learning_rate": 3e-4},
    "text part": {"method": "vrlwf_features"},
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The untouched model, the images, and what trains and compares versions."""

    store: Artifacts
    root: Digest
    study_data: StudyData
    specs: SessionSpecs
    suites: tuple[SearchedSuite, ...]
    trainer: UpdateTrainer
    embedder: VersionEmbedder
    precision: str

    def compare(self, recipe: str, seed: int, screen: Screen) -> IndexComparison:
        """Train an update, and compare the untouched model's vectors with its own."""
        values = {**RECIPES[recipe], "seed": seed, "precision": self.precision}
        spec = self.specs.spec(run_config_of(values, ""), 0, parent=self.root, root=self.root)
        trained = self.trainer.train(spec, resume=None, monitor=screen)
        return self.embedder.compare(self.root, trained.weights.digest, self.suites, screen)


def open_setting(given: argparse.Namespace, screen: Screen, work: Path) -> Setting:
    """Read the images and the base; versions are stored in `work`."""
    images = LocalArtifacts(given.out / "artifacts")
    store = LayeredArtifacts(LocalArtifacts(work), images)
    weights, _ = BaseImporter(store, folders=()).load("bundled", screen)
    prompt, device = PromptTemplate(recipes.PROMPT), torch.device(given.device)
    plan = _plan(given.per_class, given.images)
    study_data = _read(plan, images, given.out, screen)
    evaluator = VersionEvaluator(store, device=device, threads=given.threads)
    return Setting(
        store=store,
        root=weights.digest,
        study_data=study_data,
        specs=SessionSpecs(study_data=study_data, count=1, prompt=prompt),
        suites=tuple(_suites(study_data, prompt)),
        trainer=UpdateTrainer(store, device=device, threads=given.threads, ask=evaluator.ask),
        embedder=VersionEmbedder(store, device=device, threads=given.threads),
        precision=given.precision,
    )


def _plan(per_class: int, most: int) -> Plan:
    """Return what to read: with the photographs of CIFAR-100, if they are there."""
    emoji = {"name": "twemoji", "data": "twemoji", "split": "heldout_style", "text": "cls"}
    plan = parse(
        {
            "name": "bridge",
            "target": {"data": "fashion_mnist", "per_class": per_class, "test_images": most},
            "retained": [{**emoji, "images": most}],
            "retrieval": {"data": "openclipart", "split": "heldout_pair", "images": most},
            "rows": [{"name": "default"}],
        }
    )
    return replace(plan, retained=(*plan.retained, *_photographs(most)))


def _photographs(most: int) -> Iterator[ImageSet]:
    if (DATA / "cifar100.zip").is_file():
        (fashion,) = read(PLANS / "fashion.toml", {})
        sets = fashion.retained
        yield from (replace(one, images=most) for one in sets if one.name == "cifar80")


def _read(plan: Plan, images: LocalArtifacts, out: Path, screen: Screen) -> StudyData:
    sandbox = decoder(Settings())
    try:
        return StudyDataReader(
            image_cache=ImageCache(images, out / "artifacts" / "index", sandbox),
            places=(DATA, PACK),
            unzipped=out / "data",
            emit=screen.decoding,
        ).read(plan)
    finally:
        sandbox.close()


def _suites(data: StudyData, prompt: PromptTemplate) -> Iterator[SearchedSuite]:
    for name, measure in data.retained.items():
        yield _suite(name, measure, prompt)
    yield SearchedSuite(
        name="openclipart",
        validation=RetrievalQuery(entries=on_part(data.retrieval, Part.VALIDATION)),
        test=RetrievalQuery(entries=on_part(data.retrieval, Part.TEST)),
    )
    yield _suite(NEW, RetainedSet(entries=data.test, classes=data.classes), prompt)


def _suite(name: str, measure: RetainedSet, prompt: PromptTemplate) -> SearchedSuite:
    def query(part: Part) -> EvalQuery:
        entries = on_part(measure.entries, part)
        return ClassQuery(entries=entries, classes=measure.classes, prompt=prompt)

    return SearchedSuite(name=name, validation=query(Part.VALIDATION), test=query(Part.TEST))


Comparisons = Mapping[str, Sequence[IndexComparison]]  # of each recipe, one for each seed


def search_rows(comparisons: Comparisons) -> list[dict[str, Any]]:
    """Return a row for each recipe and search: recall@10 in percent, mean and spread over seeds."""
    rows = []
    for recipe, found in comparisons.items():
        by_search = zip(*map(_measures, found), strict=True)
        for measures in by_search:
            first = measures[0]
            rows.append(
                {
                    "recipe": recipe,
                    "suite": first.suite,
                    "search": first.search.value,
                    "queries": first.queries,
                    "raw": _spread([one.raw for one in measures]),
                    "bridged": _spread([one.bridged for one in measures]),
                    "re-embedded": _spread([one.reembedded for one in measures]),
                    "raw loses": _spread([one.raw_loss.value for one in measures]),
                    "bridge loses": _spread([one.bridged_loss.value for one in measures]),
                }
            )
    return rows


def verdict_rows(comparisons: Comparisons) -> list[dict[str, Any]]:
    """Return a row for each recipe and seed: the bridge, mean cosines, and the verdict."""
    rows = []
    for recipe, found in comparisons.items():
        for seed, one in enumerate(found):
            measures = _measures(one)
            verdict, _ = judge_index(measures)
            of_kept, _ = judge_index([measure for measure in measures if measure.suite != NEW])
            kept = [vectors for vectors in one.vectors if vectors.suite != NEW]
            rows.append(
                {
                    "recipe": recipe,
                    "run": seed + 1,
                    "bridge": one.bridge.kind,
                    "cosine": fmean(vectors.cosine for vectors in kept),
                    "bridged cosine": fmean(vectors.bridged_cosine for vectors in kept),
                    "neighbours found": fmean(vectors.neighbours_found for vectors in kept),
                    "by bridge": fmean(vectors.bridged_neighbours_found for vectors in kept),
                    "without new products": of_kept.value,
                    "verdict": verdict.value,
                }
            )
    return rows


def _measures(one: IndexComparison) -> list[SearchMeasure]:
    return [measure_search(search) for search in one.searches]


def _spread(values: Sequence[float]) -> str:
    points = [100 * value for value in values]
    return f"{fmean(points):.1f} ± {stdev(points):.1f}" if points[1:] else f"{points[0]:.1f}"


def main() -> None:
    """Train each recipe with each seed and compare; write the results after each run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="training seeds")
    parser.add_argument(
        "--per-class", type=int, default=200, metavar="N", help="training images per class"
    )
    parser.add_argument(
        "--images", type=int, default=1000, metavar="N", help="at most, of each suite"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: one per core")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of decoded images")
    given = parser.parse_args()
    threads = thread_count(given.threads)
    torch.set_num_threads(threads)
    comparisons: dict[str, list[IndexComparison]] = {name: [] for name in given.recipes}
    with Screen(Console()) as screen, tempfile.TemporaryDirectory() as work:
        setting: Setting = open_setting(given, screen, Path(work))
        runs = [(seed, name) for seed in given.seeds for name in given.recipes]
        for number, (seed, name) in enumerate(runs, start=1):
            screen.begin(number, len(runs), f"{name}, seed {seed}")
            found = setting.compare(name, seed, screen)
            comparisons[name].append(found)
            screen.end(judge_index(_measures(found))[1])
            done = {recipe: each for recipe, each in comparisons.items() if each}
            searches, verdicts = search_rows(done), verdict_rows(done)
            write(
                "bridge",
                [*searches, *verdicts],
                threads=threads,
                runs=number,
                seeds=given.seeds,
                precision=given.precision,
                images=len(setting.study_data.train),
                suites={
                    suite.name: len(suite.test.entries) for suite in setting.suites if suite.test
                },
            )
    show("recall@10 in an old index, in %", searches)
    show("verdicts", verdicts)


if __name__ == "__main__":
    main()
