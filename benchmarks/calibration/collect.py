"""The collection of outcomes: each version of the bundled model is evaluated once on all pools.

The versions are two seeds each of four short recipes, mixtures of the untouched weights with
fine-tuned ones (steps towards forgetting), and weights with noise.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.calibration.image_pools import Pool, pools
from benchmarks.calibration.outcomes import CAPTIONS, Outcomes, read, save
from benchmarks.calibration.version_plan import (
    COMMON,
    END,
    MIXTURES,
    NOISE,
    PER_CLASS,
    RECIPES,
    ROOT,
    SEEDS,
    mixture,
    noise,
    trained,
)
from benchmarks.null_monitor import NullMonitor
from core.adapters.artifacts.local import LocalArtifacts
from core.bootstrap import decoder
from core.clip.bases.pretrained import BaseImporter
from core.clip.bases.pretrained_folder import BUNDLED, read_folder
from core.clip.model import ClipModel
from core.clip.weights import read_state
from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Side
from core.domain.recipes.prompt import PromptTemplate
from core.domain.recipes.recipe import Recipe
from core.domain.values import Json
from core.evaluation.accuracy import predict
from core.evaluation.retrieval import caption_ranks, image_ranks
from core.learning.trainer import UpdateTrainer
from core.ports import Decoder, TrainingSpec
from core.settings import Settings
from demo import pack_reader, recipes

State = Mapping[str, Tensor]
Train = Callable[[str, int], State]
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Makes versions and keeps their outcomes in `folder`."""

    folder: Path
    config: Json
    root: State
    asked: tuple[Pool, ...]
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
    def ask(self, state: State, asked: tuple[Pool, ...]) -> Outcomes:
        """Evaluate some weights on pools."""
        model = ClipModel.build(self.config, state, CPU).freeze()
        hits: dict[str, Any] = {}
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
            if any(pool.captions):
                sizes = [len(own) for own in pool.captions]
                owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
                texts = _texts(model, [text for own in pool.captions for text in own])
                ranks = torch.tensor(image_ranks(images, texts, owner))
                hits["image to text"] = (ranks == 0).numpy()
                ranks = torch.tensor(caption_ranks(images, texts, owner))
                hits[CAPTIONS] = (ranks == 0).numpy()
        return Outcomes(hits=hits, captions=torch.tensor(sizes).numpy())


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
                recipe=Recipe(),
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
            entries.append(ManifestEntry(pixels=decoded.pixels, artifact=artifact, texts=(name,)))
    return tuple(entry for entry in entries if entry.side is Side.TRAIN)
