"""Measure what updates of captions gain, and what they lose of other captions and of classes.

`make bench-captions`: the bundled model learns the captions of a set that it never saw, by its
default recipe, by the preset `whole` and by plain contrastive fine-tuning, with three seeds; then
in five updates in a row, a subject each, beside the one update of all. It is asked about what was
held out, about other captions and for the classes of photographs. `--tune` shows the scores by
which the rates of fine-tuning were chosen, on another set. The sets are of `../shared/data`, else
of `--data`.
"""

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.output import OUT, NullMonitor, publish, write
from benchmarks.study.cli import DATA
from benchmarks.study.images import ImageCache, files_of, locate
from benchmarks.study.plan import ImageSet
from core.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases import BaseImporter
from core.datasets.manifests import ManifestEntry, Side
from core.evaluation.answers import Answers, ClassAnswers, RetrievalAnswers
from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import PromptTemplate
from core.recipes.rules import Recipe
from core.scoring.evaluator import VersionEvaluator
from core.settings import Settings
from core.training.trainer import TrainingSpec
from core.values import Digest

# Fine-tuning has the rate that learns most, by `--tune`. The presets' values were chosen for
# classes.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "top": {"preset": "top"},  # the default
    "whole": {"preset": "whole"},
    "ft": {"method": "ft", "learning_rate": 3e-4},
}
RATES = (1e-4, 3e-4, 1e-3)
TAUGHT, OTHER = "emoji_openmoji", "tuxpaint_stamps"
TUNING_SEED = 101
HELD_OUT = ", held out"
EARLIER = "the first four subjects, each by itself"
SUBJECTS = (  # of emoji, each about as many
    ("People & Body",),
    ("Flags", "Activities"),
    ("Objects", "Food & Drink"),
    ("Symbols", "Animals & Nature"),
    ("Travel & Places", "Smileys & Emotion"),
)
NOT_SEEN = (  # classes of CIFAR-100 whose photographs the bundled model never saw
    *("whale", "trout", "tulip", "cup", "orange", "lamp", "wardrobe", "butterfly", "tiger"),
    *("skyscraper", "sea", "camel", "fox", "snail", "boy", "crocodile", "hamster", "palm tree"),
    *("motorcycle", "tractor"),
)
ALPHA = 0.025  # of each end of an interval
RESAMPLES = 2000

Hits = Mapping[tuple[str, str], NDArray[np.float64]]  # of each set and measure: 1 where it is right


@dataclass(kw_only=True)
class Scene:
    """The bundled model, what it is taught and what it is asked."""

    store: LocalArtifacts
    trainer: UpdateTrainer
    evaluator: VersionEvaluator
    root: Digest
    prompt: PromptTemplate
    taught: tuple[ManifestEntry, ...]
    subject: Mapping[Digest, str]  # of each image, where the set has subjects
    queries: Mapping[str, EvalQuery]

    @cached_property
    def untouched(self) -> Hits:
        """The answers that are right before the model is taught anything."""
        return self.ask(self.root)

    def train(
        self,
        fields: Mapping[str, Any],
        seed: int,
        parts: Sequence[Sequence[ManifestEntry]],
    ) -> Iterator[Digest]:
        """Teach the parts one after the other, as a line of versions is; yield each version."""
        parent, earlier = self.root, tuple[ManifestEntry, ...]()
        for part in parts:
            spec = TrainingSpec(
                parent=parent,
                root=self.root,
                recipe=Recipe.from_json({**fields, "seed": seed, "precision": "fp32"}),
                classes=(),
                learned=(),
                open_classes=(),
                images=(),
                prompt=self.prompt,
                captioned=tuple(part),
                captioned_exemplars=earlier,
                captions_before=bool(earlier),
            )
            trained = self.trainer.train(spec, resume=None, monitor=NullMonitor())
            parent, earlier = trained.weights.digest, (*earlier, *part)
            yield parent

    def ask(self, version: Digest, queries: Mapping[str, EvalQuery] | None = None) -> Hits:
        """Return what a version is right about."""
        queries = self.queries if queries is None else queries
        answers = self.evaluator.answer(version, [*queries.values()], NullMonitor())
        return {
            (name, way): np.array(hits, dtype=float)
            for (name, query), found in zip(queries.items(), answers, strict=True)
            for way, hits in ways_of(query, found)
        }

    def side(self, side: Side) -> tuple[ManifestEntry, ...]:
        """Return the taught images on a side."""
        return tuple(one for one in self.taught if one.side is side)

    def subjects(self, side: Side) -> list[tuple[ManifestEntry, ...]]:
        """Return the images on a side by subject."""
        entries = self.side(side)
        return [
            tuple(one for one in entries if self.subject[one.pixels] in names) for names in SUBJECTS
        ]


def ways_of(query: EvalQuery, found: Answers) -> Iterator[tuple[str, Iterable[bool]]]:
    """Yield each measure of a query's answers, with where they are right."""
    if isinstance(query, ClassQuery) and isinstance(found, ClassAnswers):
        yield "top-1", found.hits(query)
    elif isinstance(found, RetrievalAnswers):
        yield "image to text", [rank == 0 for rank in found.image_ranks]
        yield "text to image", [rank == 0 for rank in found.caption_ranks]


# The sets.


def scene_of(given: argparse.Namespace, folder: Path, taught: str, *, other: str) -> Scene:
    """Read the images that are taught, and those that are asked about."""
    store = LocalArtifacts(folder / "artifacts")
    device = torch.device(given.device)
    weights, prompt = BaseImporter(store, folders=()).load("bundled", NullMonitor())
    with closing(decoder(Settings())) as opened:
        cache = ImageCache(store, folder / "index", opened)

        def read(name: str, split: str, text: str = "caption") -> tuple[ManifestEntry, ...]:
            asked = ImageSet(name=name, data=name, split=split, text=text)
            place = locate(name, [Path(given.data)], OUT / "sets")
            return cache.entries(files_of(asked, place), lambda *_: None)

        split = "heldout_style" if taught == "emoji_twemoji" else "train"
        lessons, subjects = read(taught, split), read(taught, split, "category")
        others, pairs = read(other, "train"), read("openclipart", "heldout_pair")
        photographs = read("cifar100", "test", "folder")
    seen = tuple(one for one in photographs if one.class_name not in NOT_SEEN)
    unseen = tuple(one for one in photographs if one.class_name in NOT_SEEN)
    return Scene(
        store=store,
        trainer=UpdateTrainer(store, device=device, threads=given.threads),
        evaluator=VersionEvaluator(store, device=device, threads=given.threads),
        root=weights.digest,
        prompt=PromptTemplate(prompt),
        taught=lessons,
        subject={one.pixels: one.class_name for one in subjects},
        queries={
            f"{taught}{HELD_OUT}": RetrievalQuery(
                entries=tuple(one for one in lessons if one.side is Side.HOLDOUT)
            ),
            other: RetrievalQuery(entries=others),
            "openclipart": RetrievalQuery(entries=pairs),
            "photographs": _classes(seen[::4], prompt),
            "photographs of unseen classes": _classes(unseen[::2], prompt),
        },
    )


def _classes(entries: Sequence[ManifestEntry], prompt: str) -> ClassQuery:
    classes = tuple(sorted({one.class_name for one in entries}))
    return ClassQuery(entries=tuple(entries), classes=classes, prompt=PromptTemplate(prompt))


# The tables.


def row_of(
    query: EvalQuery, way: str, before: NDArray[np.float64], after: NDArray[np.float64]
) -> dict[str, Any]:
    """Return right answers in percent, and the change in points with its interval.

    `before` and `after` are (seeds, answers); `before` may have one seed alone.
    """
    change = after - before
    low, high = interval(query, change)
    shown = {
        "before": before.mean(),
        "after": after.mean(),
        "change": change.mean(),
        "from": low,
        "to": high,
    }
    return {
        "measure": way,
        "images": len(query.entries),
        "answers": change.shape[1],
        **{name: round(100 * float(value), 1) for name, value in shown.items()},
        "by seed": ", ".join(f"{100 * one:.1f}" for one in after.mean(axis=1)),
    }


def interval(query: EvalQuery, change: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `change` (seeds, answers), resampled.

    Seeds are drawn again, and images; those with the same caption are drawn together.
    """
    cluster = np.arange(change.shape[1])
    if isinstance(query, RetrievalQuery):
        texts = [text for entry in query.entries for text in entry.texts]
        cluster = np.unique(texts, return_inverse=True)[1]
    count = int(cluster.max()) + 1
    size = np.bincount(cluster, minlength=count)
    sums = np.stack([np.bincount(cluster, weights=one, minlength=count) for one in change])
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    seeds = chance.integers(len(change), size=(RESAMPLES, len(change)))
    means = (drawn @ sums.T) / (drawn @ size)[:, None]  # (resamples, seeds)
    found = np.take_along_axis(means, seeds, axis=1).mean(axis=1)
    low, high = np.quantile(found, (ALPHA, 1 - ALPHA))
    return float(low), float(high)


def joined(found: Iterable[Hits], name: str) -> Hits:
    """Return the hits of several sets as those of one."""
    every = [(way, hits) for one in found for (_, way), hits in one.items()]
    ways = dict.fromkeys(way for way, _ in every)
    return {
        (name, way): np.concatenate([hits for asked, hits in every if asked == way]) for way in ways
    }


# The parts of the study.


def tune(scene: Scene) -> Iterator[dict[str, Any]]:
    """Yield what each rate of fine-tuning learns and keeps."""
    for rate in RATES:
        fields = {"method": "ft", "learning_rate": rate}
        *_, last = scene.train(fields, TUNING_SEED, [scene.side(Side.TRAIN)])
        own: list[float] = []
        others: list[float] = []
        for (asked, _), hits in scene.ask(last).items():
            (own if asked.endswith(HELD_OUT) else others).append(100 * float(hits.mean()))
        learned, kept = fmean(own), fmean(others)
        yield {"rate": rate, "learned": learned, "kept": kept, "mean": (learned + kept) / 2}


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The answers that are compared in rows of the table: a list entry for each seed."""

    queries: Mapping[str, EvalQuery]
    before: list[Hits]
    after: list[Hits]


Found = dict[tuple[str, str, str], Compared]  # by what was taught, how, and by which recipe


def one_update(scene: Scene, seed: int, name: str) -> Iterator[tuple[str, Compared]]:
    """Yield what one update of all captions gains and loses."""
    (last,) = scene.train(RECIPES[name], seed, [scene.side(Side.TRAIN)])
    yield (
        "one update",
        Compared(queries=scene.queries, before=[scene.untouched], after=[scene.ask(last)]),
    )


def five_updates(scene: Scene, seed: int, name: str) -> Iterator[tuple[str, Compared]]:
    """Yield what five updates in a row gain and lose, and what four have lost since they were last.

    Each of those is asked about its own subject when it has learned it, and at the end.
    """
    subjects = [RetrievalQuery(entries=held_out) for held_out in scene.subjects(Side.HOLDOUT)[:-1]]
    earlier = {
        EARLIER: RetrievalQuery(entries=tuple(one for asked in subjects for one in asked.entries))
    }
    *versions, last = scene.train(RECIPES[name], seed, scene.subjects(Side.TRAIN))
    yield (
        "five updates",
        Compared(queries=scene.queries, before=[scene.untouched], after=[scene.ask(last)]),
    )
    own = zip(versions, subjects, strict=True)
    fresh = joined((scene.ask(one, {"": asked}) for one, asked in own), EARLIER)
    final = joined((scene.ask(last, {"": asked}) for asked in subjects), EARLIER)
    yield "five updates, since", Compared(queries=earlier, before=[fresh], after=[final])


PARTS = (
    (TAUGHT, one_update, ("top", "whole", "ft")),
    (TAUGHT, five_updates, ("top", "whole", "ft")),
    (OTHER, one_update, ("top", "whole", "ft")),
)


def rows_of(found: Found) -> list[dict[str, Any]]:
    """Return a row of each set and measure."""
    rows = []
    for (taught, how, name), compared in found.items():
        for asked, way in compared.before[0]:
            then, now = (
                np.stack([one[asked, way] for one in each])
                for each in (compared.before, compared.after)
            )
            row = row_of(compared.queries[asked], way, then, now)
            rows.append({"taught": taught, "by": how, "recipe": name, "set": asked, **row})
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=str(DATA), help="Folder with the sets.")
    parser.add_argument("--tune", action="store_true", help="Score fine-tuning's rates instead.")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    facts = {"device": given.device, "seeds": list(given.seeds)}
    with tempfile.TemporaryDirectory() as folder:
        if given.tune:
            scene = scene_of(given, Path(folder), "emoji_twemoji", other=OTHER)
            publish("captions-tuned", list(tune(scene)), device=given.device, seed=TUNING_SEED)
            return
        found: Found = {}
        scenes = {
            TAUGHT: scene_of(given, Path(folder), TAUGHT, other=OTHER),
            OTHER: scene_of(given, Path(folder), OTHER, other=TAUGHT),
        }
        for taught, part, names in PARTS:
            for name, seed in product(names, given.seeds):
                for how, compared in part(scenes[taught], seed, name):
                    known = found.setdefault((taught, how, name), compared)
                    if known is not compared:
                        known.before.extend(compared.before)
                        known.after.extend(compared.after)
                write("captions", rows_of(found), **facts)  # so far: all of it takes an hour
        publish("captions", rows_of(found), **facts)


if __name__ == "__main__":
    main()
