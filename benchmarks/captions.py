"""Measure what an update of captions gains, and what it loses of other captions and of classes.

`make bench-captions`: the bundled model learns the captions of one set that it never saw, by the
default recipe, by twice its weight of VR-LwF and by plain contrastive fine-tuning, and is asked
about what it held out, about the captions of another set and for the classes of photographs. The
sets are of `../shared/data`, else of `--data`.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from benchmarks.output import OUT, NullMonitor, publish
from benchmarks.study.cli import DATA
from benchmarks.study.images import ImageCache, files_of, locate
from benchmarks.study.plan import ImageSet
from core.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases import BaseImporter
from core.datasets.manifests import ManifestEntry, Part, Side
from core.evaluation.plan import entries_in
from core.evaluation.queries import (
    ClassAnswers,
    ClassQuery,
    EvalQuery,
    RetrievalAnswers,
    RetrievalQuery,
)
from core.evaluation.results import recall_at
from core.gate.intervals import proportion_interval
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import PromptTemplate
from core.recipes.rules import Recipe
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings
from core.training.trainer import TrainingSpec
from core.values import Digest

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "vrlwf, twice the weight": {"replay_weight": 24.0},
    "fine-tuning": {"method": "ft"},
}
ALPHA = 0.025  # of each end of an interval


def read(cache: ImageCache, data: str, name: str, split: str, text: str, most: int = 0) -> Any:
    """Return the images of a split with their captions or classes."""
    asked = ImageSet(name=name, data=name, split=split, text=text, images=most)
    folder = locate(name, [Path(data)], OUT / "sets")
    return cache.entries(files_of(asked, folder), lambda *_: None)


def rows_of(
    recipe: str,
    evaluator: VersionEvaluator,
    version: Digest,
    queries: Mapping[str, EvalQuery],
) -> Iterator[dict[str, Any]]:
    """Yield how often a version is right about each set, in percent, with 95 % intervals."""
    answers = evaluator.answer(version, [*queries.values()], NullMonitor())
    for (name, query), found in zip(queries.items(), answers, strict=True):
        ways: dict[str, tuple[int, float]] = {}
        if isinstance(query, ClassQuery) and isinstance(found, ClassAnswers):
            hits = found.hits(query)
            ways["top-1"] = len(hits), sum(hits) / len(hits)
        elif isinstance(found, RetrievalAnswers):
            for way, ranks in (("image", found.image_ranks), ("caption", found.caption_ranks)):
                ways[f"R@1 of each {way}"] = len(ranks), recall_at(ranks, 1)
        for way, (count, share) in ways.items():
            interval = proportion_interval(round(share * count), count, ALPHA)
            yield {
                "recipe": recipe,
                "set": name,
                "measure": way,
                "asked": count,
                "right, %": round(100 * share, 1),
                "from": round(100 * interval.lower, 1),
                "to": round(100 * interval.upper, 1),
            }


def run(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Train an update by each recipe; return what it and the untouched model are right about."""
    store = LocalArtifacts(folder / "artifacts")
    device = torch.device(given.device)
    weights, prompt = BaseImporter(store, folders=()).load("bundled", NullMonitor())
    with closing(decoder(Settings())) as opened:
        cache = ImageCache(store, folder / "index", opened)
        taught: Sequence[ManifestEntry] = read(cache, given.data, given.taught, "train", "caption")
        other = read(cache, given.data, given.other, "train", "caption", 600)
        photographs = read(cache, given.data, "cifar100", "test", "folder", 1000)
    held_out = entries_in(Part.TEST, (one for one in taught if one.side is Side.HOLDOUT))
    classes = tuple(sorted({one.class_name for one in photographs}))
    queries: dict[str, EvalQuery] = {
        f"{given.taught}, held out": RetrievalQuery(entries=held_out),
        f"{given.other}, others' captions": RetrievalQuery(entries=other),
        "photographs": ClassQuery(
            entries=photographs, classes=classes, prompt=PromptTemplate(prompt)
        ),
    }
    evaluator = VersionEvaluator(store, device=device, threads=given.threads)
    trainer = UpdateTrainer(store, device=device, threads=given.threads)
    rows = list(rows_of("untouched", evaluator, weights.digest, queries))
    for name, fields in RECIPES.items():
        spec = TrainingSpec(
            parent=weights.digest,
            root=weights.digest,
            recipe=Recipe.from_json({**fields, "seed": given.seed, "precision": "fp32"}),
            classes=(),
            learned=(),
            open_classes=(),
            images=(),
            prompt=PromptTemplate(prompt),
            captioned=tuple(one for one in taught if one.side is Side.TRAIN),
        )
        trained = trainer.train(spec, resume=None, monitor=NullMonitor())
        rows += rows_of(name, evaluator, trained.weights.digest, queries)
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(DATA), help="Folder with the sets.")
    parser.add_argument("--taught", default="emoji_openmoji")
    parser.add_argument("--other", default="tuxpaint_stamps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run(given, Path(folder))
    publish("captions", rows, taught=given.taught, seed=given.seed, device=given.device)


if __name__ == "__main__":
    main()
