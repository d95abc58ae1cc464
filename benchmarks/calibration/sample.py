"""The collection of outcomes: each version of the bundled model is evaluated once on all pools.

The versions are two seeds each of four short recipes, mixtures of the untouched weights with
fine-tuned ones (steps towards forgetting), and weights with noise.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.output import NullMonitor, entry_of
from core.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases import BUNDLED, BaseImporter, read_folder
from core.clip.inputs import Preprocess, read_image
from core.clip.model import ClipModel, read_state
from core.datasets.manifests import ManifestEntry, Side
from core.gate.intervals import quantile
from core.images.decoder import Decoder
from core.images.views import View
from core.learning.trainer import UpdateTrainer
from core.recipes.fields import Precision, PromptTemplate
from core.recipes.rules import Recipe
from core.scoring.evaluator import caption_ranks, image_ranks, predict
from core.settings import Settings
from core.training.trainer import TrainingSpec
from core.values import Digest, Json, sha256
from demo import images as pack_reader
from demo import walkthrough as recipes
from demo.images import PACK

# The pools of images that suites are drawn from, as pixels in memory.
#
# With the large image sets they are the CIFAR-100 test images of the 80 classes that the bundled
# model knows, and Twemoji, a style it has never seen; without them, the Twemoji of the demo's pack.


SETS = ("cifar100", "emoji_twemoji")

VIEWS = 8  # of the photographs, those of every third

UPDATE_CLASSES = (  # of CIFAR-100, which the bundled model has not seen
    *("whale", "trout", "tulip", "cup", "orange", "lamp", "wardrobe", "butterfly", "tiger"),
    *("skyscraper", "sea", "camel", "fox", "snail", "boy", "crocodile", "hamster", "palm_tree"),
    *("motorcycle", "tractor"),
)


@dataclass(frozen=True, kw_only=True)
class ImagePool:
    """Images, uint8 (count, 3, height, width), with the class and captions of each.

    `views`, (viewed, VIEWS, 3, height, width), are of every `step`-th image.
    """

    name: str
    images: Tensor
    step: int
    views: Tensor
    classes: tuple[str, ...]  # one for each image
    captions: tuple[tuple[str, ...], ...]  # for each image; () where the set has none


def pools(data: Path | None, preprocess: Preprocess) -> list[ImagePool]:
    """Read all pools; without a data folder, those of the demo's pack.

    `data` contains `<set>.zip` or unzipped `<set>/`. Raises FileNotFoundError.
    """
    if data is None:
        return [_emoji(zipfile.Path(PACK / "twemoji.zip"), preprocess)]
    return [
        _photographs(open_set(data, "cifar100"), preprocess),
        _emoji(open_set(data, "emoji_twemoji"), preprocess),
    ]


def _photographs(root: Path | zipfile.Path, preprocess: Preprocess) -> ImagePool:
    rows = [
        (folder.name.replace("_", " "), file.read_bytes())
        for folder in _sorted(root / "test")
        if folder.name not in UPDATE_CLASSES
        for file in _sorted(folder)
    ]
    files = [data for _, data in rows]
    return ImagePool(
        name="cifar100",
        images=_pixels(files, preprocess),
        step=3,
        views=_views(files[::3], preprocess),
        classes=tuple(name for name, _ in rows),
        captions=((),) * len(rows),
    )


def _emoji(root: Path | zipfile.Path, preprocess: Preprocess) -> ImagePool:
    lines = (root / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "heldout_style"]
    files = [(root / row["path"]).read_bytes() for row in rows]
    return ImagePool(
        name="twemoji",
        images=_pixels(files, preprocess),
        step=1,
        views=_views(files, preprocess),
        classes=tuple(row["cls"] for row in rows),
        captions=tuple(
            tuple(dict.fromkeys(_captions(row["caption"], row.get("tags", [])))) for row in rows
        ),
    )


def _captions(caption: str, tags: list[str]) -> Iterator[str]:
    """Yield two to five variants of a caption, similar to the captions of one photograph."""
    yield caption
    yield f"this is a photo of {caption} ."
    yield from (f"{caption}, {tag}" for tag in tags[:2])
    if len(tags) > 1:
        yield f"{tags[0]} and {tags[1]}"


def _sorted(folder: Path | zipfile.Path) -> list[Path | zipfile.Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name)


def _pixels(files: list[bytes], preprocess: Preprocess) -> Tensor:
    return torch.stack([preprocess.evaluation_pixels(read_image(data)) for data in files])


def _views(files: list[bytes], preprocess: Preprocess) -> Tensor:
    """Return the views by which the service would judge, where a suite may be mirrored."""
    views = [View(number=number + 1, mirror=True) for number in range(VIEWS)]
    return torch.stack(
        [
            torch.stack(
                [preprocess.evaluation_pixels(v.of(image, Digest(sha256(data)))) for v in views]
            )
            for data in files
            for image in [read_image(data)]
        ]
    )


def open_set(data: Path, name: str) -> Path | zipfile.Path:
    """Return a set's root, `<data>/<name>/` or `<data>/<name>.zip`. Raises FileNotFoundError."""
    if (data / name).is_dir():
        return data / name
    archive = data / f"{name}.zip"
    if not archive.is_file():
        raise FileNotFoundError(
            f"needs {' and '.join(SETS)}; neither {name}/ nor {name}.zip is in {data}"
        )
    return zipfile.Path(archive)


# Outcomes: a version's right and wrong answers image by image, kept in small files.


Hits = NDArray[np.bool_]  # (answers,)

CAPTIONS = "text to image"  # the one question that has several answers for an image


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """A version's hits on each question; `captions` is how many captions each image has.

    `soft` holds the hits on some images and their views, (images, 1 + VIEWS), by pool.
    """

    hits: Mapping[str, Hits]
    captions: NDArray[np.int64]  # (images of the captioned set,)
    soft: Mapping[str, Hits]

    def accuracy(self, question: str) -> float:
        """Return the share of right answers on a question's whole pool."""
        return float(self.hits[question].mean())


_SOFT = "soft "  # begins the name of an array


def save(path: Path, outcomes: Outcomes) -> None:
    """Write outcomes to a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new.npz")
    arrays: dict[str, Any] = {"captions": outcomes.captions, **outcomes.hits}
    arrays |= {f"{_SOFT}{name}": hits for name, hits in outcomes.soft.items()}
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)


def read(path: Path) -> Outcomes:
    """Return the outcomes that `save` wrote. Raises FileNotFoundError."""
    with np.load(path) as file:
        soft = {name[len(_SOFT) :]: file[name] for name in file.files if name.startswith(_SOFT)}
        others = {"captions", *(f"{_SOFT}{name}" for name in soft)}
        hits = {name: file[name] for name in file.files if name not in others}
        return Outcomes(hits=hits, captions=file["captions"], soft=soft)


def read_all(folder: Path) -> dict[str, Outcomes]:
    """Read every version's outcomes, by the version's name in order."""
    found = sorted(path for path in folder.glob("*.npz") if not path.name.endswith(".new.npz"))
    return {path.stem: read(path) for path in found}


# The versions of the study: their names, recipes, seeds and sizes of noise.


ROOT = "bundled"

SEEDS = (11, 12)

PER_CLASS = 250  # images of each of the ten products; a fifth of them is held out

COMMON = {"epochs": 3, "batch_size": 100, "optimiser": "adam"}

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "ft-gentle": {"method": "ft", "learning_rate": 1e-4},
    "ft": {"method": "ft", "learning_rate": 3e-4},
    "ft-harsh": {"method": "ft", "learning_rate": 1e-3},
    "vrlwf": {"method": "vrlwf", "learning_rate": 3e-4, "replay_weight": 6.0},
}

END = ("ft-harsh", SEEDS[0])  # the recipe and seed that mixtures use

MIXTURES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8)

NOISE = (0.1, 0.15)  # times a tensor's root mean square


def trained(recipe: str, seed: int) -> str:
    """Return the name of a trained version."""
    return f"{recipe}-{seed}"


def mixture(weight: float) -> str:
    """Return the name of the untouched weights mixed with `END`'s, whose share is `weight`."""
    return f"mixture-{weight:.2f}"


def noise(size: float, seed: int) -> str:
    """Return the name of the untouched weights with noise."""
    return f"noise-{size:.2f}-{seed}"


def names() -> Iterator[str]:
    """Yield the names of all versions, in the order in which they are evaluated."""
    yield ROOT
    yield from (trained(recipe, seed) for recipe in RECIPES for seed in SEEDS)
    yield from map(mixture, MIXTURES)
    yield from (noise(size, seed) for size in NOISE for seed in SEEDS)


State = Mapping[str, Tensor]

Train = Callable[[str, int], State]

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Makes versions and keeps their outcomes in `folder`."""

    folder: Path
    config: Json
    root: State
    asked: tuple[ImagePool, ...]
    say: Callable[[str], None]

    def outcomes(self, name: str, state: Callable[[], State]) -> Outcomes:
        """Return a version's outcomes from its file, or evaluate it and write the file."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            save(path, self.ask(state(), self.asked))
            found = read(path)
            shares = ", ".join(f"{key} {found.accuracy(key):.2%}" for key in found.hits)
            self.say(f"{name}: {shares}")
        return read(path)

    @torch.inference_mode()
    def ask(self, state: State, asked: tuple[ImagePool, ...]) -> Outcomes:
        """Evaluate some weights on pools."""
        model = ClipModel.build(self.config, state, CPU).freeze()
        hits: dict[str, Any] = {}
        soft: dict[str, Any] = {}
        sizes: list[int] = []
        for pool in asked:
            images = torch.cat(
                [model.encode_images(part) for part in torch.split(pool.images, 256)]
            )
            names = sorted(set(pool.classes))
            index = {name: row for row, name in enumerate(names)}
            texts = _texts(model, PromptTemplate(recipes.PROMPT).fill_all(names))
            right = torch.tensor([index[name] for name in pool.classes])
            hits[pool.name] = (torch.tensor(predict(images, texts)) == right).numpy()
            viewed = torch.cat(
                [model.encode_images(part.flatten(0, 1)) for part in torch.split(pool.views, 32)]
            )
            found = torch.tensor(predict(viewed, texts)).view(-1, VIEWS)
            own = hits[pool.name][:: pool.step, None]
            soft[pool.name] = np.hstack([own, (found == right[:: pool.step, None]).numpy()])
            if any(pool.captions):
                sizes = [len(own) for own in pool.captions]
                owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
                texts = _texts(model, [text for own in pool.captions for text in own])
                ranks = torch.tensor(image_ranks(images, texts, owner))
                hits["image to text"] = (ranks == 0).numpy()
                ranks = torch.tensor(caption_ranks(images, texts, owner))
                hits[CAPTIONS] = (ranks == 0).numpy()
        return Outcomes(hits=hits, captions=torch.tensor(sizes).numpy(), soft=soft)


def collect(folder: Path, data: Path | None, say: Callable[[str], None]) -> None:
    """Write the outcomes of every version to `folder`; existing files are kept.

    Raises FileNotFoundError when `data` lacks a set.
    """
    torch.set_num_threads(1)
    config, network = read_folder(BUNDLED)
    root = dict(network.state_dict())
    asked = tuple(pools(data, ClipModel.build(config, root, CPU).preprocess))
    collector = Collector(folder=folder, config=config, root=root, asked=asked, say=say)
    collector.outcomes(ROOT, lambda: root)
    with training() as train:
        for recipe in RECIPES:
            for seed in SEEDS:
                collector.outcomes(trained(recipe, seed), partial(train, recipe, seed))
        for weight in MIXTURES:
            collector.outcomes(mixture(weight), partial(_towards, root, train, weight))
    for size in NOISE:
        for seed in SEEDS:
            collector.outcomes(noise(size, seed), partial(noisy, root, size, seed))


def _towards(root: State, train: Train, weight: float) -> State:
    return mixed(root, train(*END), weight)


def mixed(root: State, end: State, weight: float) -> State:
    """Interpolate from `root` to `end`, whose share is `weight`."""
    return {
        name: torch.lerp(tensor, end[name], weight) if tensor.is_floating_point() else tensor
        for name, tensor in root.items()
    }


def noisy(root: State, size: float, seed: int) -> State:
    """Add Gaussian noise of `size` times each tensor's root mean square to the weights."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor
        + size * tensor.square().mean().sqrt() * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in root.items()
    }


def _texts(model: ClipModel, texts: Sequence[str]) -> Tensor:
    return torch.cat([model.encode_texts(texts[i : i + 256]) for i in range(0, len(texts), 256)])


@contextmanager
def training() -> Iterator[Train]:
    """Yield a function that trains a recipe with a seed, each once, by the service's trainer."""
    with tempfile.TemporaryDirectory() as scratch:
        artifacts = LocalArtifacts(Path(scratch))
        trainer = UpdateTrainer(artifacts, device=CPU, threads=1)

        @cache
        def base_spec() -> TrainingSpec:
            with closing(decoder(Settings())) as sandbox:
                images = _products(artifacts, sandbox)
            root, _ = BaseImporter(artifacts, folders=()).load("bundled", NullMonitor())
            return TrainingSpec(
                parent=root.digest,
                root=root.digest,
                recipe=Recipe(precision=Precision.FP32),
                classes=tuple(sorted({image.class_name for image in images})),
                learned=(),
                open_classes=(),
                images=images,
                prompt=PromptTemplate(recipes.PROMPT),
            )

        @cache
        def train(name: str, seed: int) -> State:
            # A fixed precision, so that the versions do not depend on the machine.
            given = {**COMMON, **RECIPES[name], "precision": "fp32", "seed": seed}
            spec = replace(base_spec(), recipe=Recipe.from_json(given))
            weights = trainer.train(spec, resume=None, monitor=NullMonitor()).weights
            return read_state(weights, artifacts)

        yield train


def _products(artifacts: LocalArtifacts, decode: Decoder) -> tuple[ManifestEntry, ...]:
    """Store the products' images and return those of the training side."""
    train, test = (pack_reader.by_class("fashion_mnist", split) for split in ("train", "test"))
    entries = []
    for name in sorted(train):
        for image in (train[name] + test[name])[:PER_CLASS]:
            decoded = decode.decode(image.data)
            artifact = artifacts.put(decoded.data)
            entries.append(entry_of(decoded.pixels, artifact, name))
    return tuple(entry for entry in entries if entry.side is Side.TRAIN)


# Random suites as counts, whose images are drawn from a pool with replacement.
#
# Images with the same flips are one kind, so a suite of n images is one multinomial draw over the
# kinds. The pool's difference is the true one, and a suite may be larger than its pool.


Integers = NDArray[np.int64]

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SampledCounts:
    """One measure's counts in many suites of `images` images; arrays are (draws,)."""

    question: str
    images: int
    count: Integers  # answers: images, or captions of images
    gained: Integers
    lost: Integers
    design_effect: Numbers


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Two versions' flips on some questions about the same images."""

    questions: tuple[str, ...]
    kinds: Integers  # (kinds, 6 x questions): contribution of one image of a kind to the sums
    shares: Numbers  # (kinds,)

    @classmethod
    def of(cls, before: Outcomes, now: Outcomes, questions: Sequence[str]) -> "Pool":
        """Compare two versions on some questions, which must be about the same images."""
        rows = np.hstack([_rows(before, now, question) for question in questions])
        kinds, number = np.unique(rows, axis=0, return_counts=True)
        return cls(questions=tuple(questions), kinds=kinds, shares=number / number.sum())

    def draw(
        self, images: int, draws: int, rng: np.random.Generator, alpha: float
    ) -> dict[str, SampledCounts]:
        """Draw `draws` suites of `images` images; return each question's counts."""
        sums = rng.multinomial(images, self.shares, size=draws) @ self.kinds
        return {
            question: _sampled_counts(question, images, sums[:, 6 * i : 6 * i + 6], alpha)
            for i, question in enumerate(self.questions)
        }

    def reweighted(self, question: str, loss: float) -> "Pool":
        """Return the pool with its losing images weighted so that exactly `loss` is lost.

        The other images keep their shares relative to each other. Raises ValueError when no weight
        makes that loss.
        """
        i = self.questions.index(question)
        count, gained, lost = (self.kinds[:, 6 * i + column] for column in range(3))
        losing = lost > gained
        excess = self.shares * (lost - gained - loss * count)  # sums to 0 at the target loss
        losers, others = excess[losing].sum(), -excess[~losing].sum()
        if losers <= 0 or others < 0:
            raise ValueError(f"no weight of the losing images makes a loss of {loss}")
        shares = np.where(losing, others / losers * self.shares, self.shares)
        return replace(self, shares=shares / shares.sum())

    def rates(self, question: str) -> tuple[float, float]:
        """Return the shares of a question's answers that are gained and lost."""
        i = self.questions.index(question)
        count, gained, lost = self.shares @ self.kinds[:, 6 * i : 6 * i + 3]
        return float(gained / count), float(lost / count)

    def loss(self, question: str) -> float:
        """Return the later version's true loss of accuracy, from which drawn suites deviate."""
        gained, lost = self.rates(question)
        return lost - gained


def _rows(before: Outcomes, now: Outcomes, question: str) -> Integers:
    """Return each image's answers, gains, losses and products for a design effect, (images, 6)."""
    old, new = before.hits[question], now.hits[question]
    gained, lost = (new & ~old).astype(int), (old & ~new).astype(int)
    if question == CAPTIONS:
        sizes = now.captions
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        gained, lost = np.add.reduceat(gained, starts), np.add.reduceat(lost, starts)
    else:
        sizes = np.ones(len(gained), int)
    net = gained - lost
    return np.column_stack([sizes, gained, lost, net**2, net * sizes, sizes**2])


def _sampled_counts(question: str, images: int, sums: Integers, alpha: float) -> SampledCounts:
    clustered = question == CAPTIONS
    return SampledCounts(
        question=question,
        images=images,
        count=sums[:, 0],
        gained=sums[:, 1],
        lost=sums[:, 2],
        design_effect=design_effects(sums, alpha) if clustered else np.ones(len(sums)),
    )


def design_effects(sums: Integers, alpha: float) -> Numbers:
    """Compute `core.gate.measures.design_effect` of many suites from sums (draws, 6)."""
    total, gained, lost, squares, products, sizes = sums.T.astype(float)
    mean = (gained - lost) / total
    between = squares - 2 * mean * products + mean**2 * sizes
    independent = gained + lost - total * mean**2
    prior = quantile(alpha) ** 2
    effects: Numbers = (between + prior * sizes / total) / (independent + prior)
    return np.maximum(1.0, effects)


# The pairs of versions to compare: nulls with churn, and planted losses.


NULL_AT_MOST = 0.025  # the largest difference of two seeds that counts as none

LEAST_LOSS = 0.005


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A baseline and a candidate that is no better on a question's whole pool."""

    before: str
    now: str
    question: str
    pool: Pool

    @property
    def loss(self) -> float:
        """The candidate's loss of accuracy."""
        return self.pool.loss(self.question)

    @property
    def churn(self) -> float:
        """The share of answers that flip."""
        return sum(self.pool.rates(self.question))

    def reweighted(self, loss: float) -> "Pair":
        """Return the pair with its losing images weighted so that exactly `loss` is lost."""
        return replace(self, pool=self.pool.reweighted(self.question, loss))


def pair(versions: Mapping[str, Outcomes], before: str, now: str, question: str) -> Pair:
    """Pair two versions, the better one first."""
    if versions[before].accuracy(question) < versions[now].accuracy(question):
        before, now = now, before
    pool = Pool.of(versions[before], versions[now], [question])
    return Pair(before=before, now=now, question=question, pool=pool)


def nulls(versions: Mapping[str, Outcomes], question: str) -> list[Pair]:
    """Return pairs of two seeds of one recipe or one size of noise, of about equal accuracy."""
    seeds: dict[str, list[str]] = {}
    for name in versions:
        recipe, _, seed = name.rpartition("-")
        if seed.isdigit():
            seeds.setdefault(recipe, []).append(name)
    twins = [names for names in seeds.values() if len(names) == 2]
    found = [pair(versions, one, other, question) for one, other in twins]
    return [null for null in found if null.loss <= NULL_AT_MOST]


def planted(versions: Mapping[str, Outcomes], question: str) -> list[Pair]:
    """Return pairs of the untouched version and each that is at least half a point worse."""
    found = [pair(versions, ROOT, name, question) for name in versions if name != ROOT]
    return [loss for loss in found if loss.before == ROOT and loss.loss >= LEAST_LOSS]
