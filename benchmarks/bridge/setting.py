"""The data of the bridge's benchmark: suites of several kinds, and updates by several recipes."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.study.cli import DATA, PLANS
from benchmarks.study.images.image_cache import ImageCache
from benchmarks.study.images.study_data import RetainedSet, StudyData, StudyDataReader, on_part
from benchmarks.study.overlay_artifacts import LayeredArtifacts
from benchmarks.study.plan import ImageSet, Plan, parse, read
from benchmarks.study.progress import Screen
from benchmarks.study.run_config import run_config_of
from benchmarks.study.session_specs import SessionSpecs
from core.adapters.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases.pretrained import BaseImporter
from core.domain.datasets.split import Part
from core.domain.evaluation.query import ClassQuery, EvalQuery, RetrievalQuery
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest
from core.domain.vectors.searched_suite import SearchedSuite
from core.evaluation.embedder import VersionEmbedder
from core.evaluation.evaluator import VersionEvaluator
from core.learning.trainer import UpdateTrainer
from core.ports import Artifacts, IndexComparison
from core.settings import Settings
from demo import recipes
from demo.pack_reader import PACK

NEW = "new products"
# Values that were tuned for these products (docs/studies/forgetting.md); by default, the service's.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ft": {"method": "ft", "learning_rate": 1e-3},
    "default": {},
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
        sets = read(PLANS / "fashion.toml", {}).retained
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
