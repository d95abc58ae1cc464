"""The small CLIP's training data, read from zips into memory, without what it must not see."""

import io
import json
import random
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.tiny.recipe import TEMPLATES, Recipe

SIDE = 64

TRAINING_SETS = ("cifar100", "emoji_noto", "emoji_fluent3d", "emoji_fluentflat", "openclipart")
"""The only sets whose `train` split is used for training."""

UPDATE_CLASSES = frozenset(
    {
        "whale", "trout", "tulip", "cup", "orange", "lamp", "wardrobe", "butterfly", "tiger",
        "skyscraper", "sea", "camel", "fox", "snail", "boy", "crocodile", "hamster", "palm_tree",
        "motorcycle", "tractor",
    }
)  # fmt: skip
"""CIFAR-100 classes that the studies' updates teach, so the small CLIP never trains on them."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a set with its name and keywords."""

    path: str
    name: str
    keywords: tuple[str, ...] = ()
    source: str


@dataclass(frozen=True, kw_only=True)
class Images:
    """Decoded images with their items, in the same order."""

    items: Sequence[Item]
    pixels: torch.Tensor  # (images, 3, SIDE, SIDE), uint8


@dataclass(kw_only=True)
class Concept:
    """A name, and every keyword that any of its images carries."""

    name: str
    keywords: set[str] = field(default_factory=set)


def name_of(folder: str) -> str:
    """Return a folder's name with spaces for underscores."""
    return folder.replace("_", " ")


def items_of(archive: zipfile.ZipFile, *, source: str, split: str) -> list[Item]:
    """Return the items of one split, in the order of their paths.

    An item's name is its folder's, or in captioned sets the class of its row.
    """
    paths = sorted(p for p in archive.namelist() if p.startswith(f"{split}/") and p[-1] != "/")
    if "captions.jsonl" not in archive.namelist():
        return [Item(path=p, name=name_of(p.split("/")[1]), source=source) for p in paths]
    rows = [json.loads(line) for line in archive.read("captions.jsonl").decode().splitlines()]
    by_path = {row["path"]: row for row in rows if row["split"] == split}
    return [
        Item(
            path=p,
            name=by_path[p]["cls"].lower(),
            keywords=tuple(t.lower() for t in by_path[p].get("tags", ())),
            source=source,
        )
        for p in paths
    ]


def decode(data: bytes) -> torch.Tensor:
    """Decode an image as the model sees it before normalisation: RGB, bicubic, SIDE by SIDE."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read(folder: Path, *, source: str, split: str) -> Images:
    """Read every image of one split of a set, without the photographs of UPDATE_CLASSES."""
    with zipfile.ZipFile(folder / "sets" / f"{source}.zip") as archive:
        items = items_of(archive, source=source, split=split)
        if source == "cifar100":
            items = [i for i in items if i.path.split("/")[1] not in UPDATE_CLASSES]
        pixels = torch.stack([decode(archive.read(item.path)) for item in items])
    return Images(items=items, pixels=pixels)


def join(parts: Iterable[Images]) -> Images:
    """Concatenate several sets."""
    several = list(parts)
    return Images(
        items=[item for part in several for item in part.items],
        pixels=torch.cat([part.pixels for part in several]),
    )


def pick(images: Images, indices: Sequence[int]) -> Images:
    """Return the images at some indices."""
    return Images(items=[images.items[i] for i in indices], pixels=images.pixels[list(indices)])


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The training images in three groups, a small validation part, and the concepts they show."""

    photos: Images
    emojis: Images
    cliparts: Images
    validation_photos: Images
    validation_emojis: Images
    concepts: Sequence[Concept]
    index: dict[str, int]

    def groups(self) -> tuple[Images, Images, Images]:
        """Return the three groups in the order of a batch."""
        return self.photos, self.emojis, self.cliparts


def read_corpus(folder: Path) -> Corpus:
    """Read the training sets; hold back images for validation.

    One photo in fifty is held back, and one Noto emoji in twenty if another style has it too.
    """
    photos = read(folder, source="cifar100", split="train")
    emojis = join(read(folder, source=s, split="train") for s in TRAINING_SETS[1:4])
    cliparts = read(folder, source="openclipart", split="train")
    drawn = {item.name for item in emojis.items if item.source != "emoji_noto"}
    kept_photo = [i % 50 != 0 for i in range(len(photos.items))]
    kept_emoji = [
        not (item.source == "emoji_noto" and i % 20 == 0 and item.name in drawn)
        for i, item in enumerate(emojis.items)
    ]
    concepts: dict[str, Concept] = {}
    for item in (*photos.items, *emojis.items, *cliparts.items):
        concept = concepts.setdefault(item.name, Concept(name=item.name))
        concept.keywords.update(item.keywords)
    return Corpus(
        photos=pick(photos, [i for i, k in enumerate(kept_photo) if k]),
        emojis=pick(emojis, [i for i, k in enumerate(kept_emoji) if k]),
        cliparts=cliparts,
        validation_photos=pick(photos, [i for i, k in enumerate(kept_photo) if not k]),
        validation_emojis=pick(emojis, [i for i, k in enumerate(kept_emoji) if not k]),
        concepts=list(concepts.values()),
        index={name: i for i, name in enumerate(concepts)},
    )


def describe(concept: Concept, *, recipe: Recipe, rng: random.Random) -> str:
    """Draw a sentence for a concept: its name in a template, or keywords with or without it."""
    keywords = sorted(concept.keywords - {concept.name})
    if keywords and rng.random() < recipe.keywords:
        some = rng.sample(keywords, min(len(keywords), rng.randint(1, 3)))
        if len(some) >= 3 and rng.random() < 0.3:
            return " , ".join(some)
        return " , ".join([concept.name, *some])
    first = rng.random() < recipe.first_template
    template = TEMPLATES[0] if first else rng.choice(TEMPLATES[1:])
    return template.format(name=concept.name)


def every_text(concepts: Iterable[Concept]) -> list[str]:
    """Return texts that together contain every token that `describe` can produce."""
    texts = []
    for concept in concepts:
        texts += [template.format(name=concept.name) for template in TEMPLATES]
        texts += [concept.name, *(f"{keyword} , {keyword}" for keyword in concept.keywords)]
    return texts


def draw(size: int, *, count: int, step: int, seed: str) -> list[int]:
    """Return the indices of a group's images at a step; every pass has a new order.

    They depend only on the arguments, so training can resume at any step.
    """
    first = step * count
    chosen: list[int] = []
    orders: dict[int, list[int]] = {}
    for position in range(first, first + count):
        turn, place = divmod(position, size)
        if turn not in orders:
            orders[turn] = list(range(size))
            random.Random(f"{seed}/{turn}").shuffle(orders[turn])
        chosen.append(orders[turn][place])
    return chosen
