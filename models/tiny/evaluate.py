"""Print the small CLIP's accuracies: `python -m models.tiny.evaluate --data ../shared/data`.

The folder is loaded as any user would, with `local-dir:` and its own preprocessing.
"""

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from models.tiny.data import UPDATE_CLASSES, Item, items_of
from models.tiny.recipe import TEMPLATES


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """A loaded model with its preprocessing and tokenizer."""

    model: Any
    preprocess: Any
    tokenizer: Any

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit vectors (texts, dimensions)."""
        parts = [
            self.model.encode_text(self.tokenizer(list(texts[i : i + 512])), normalize=True)
            for i in range(0, len(texts), 512)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def images(self, images: Sequence[Image.Image]) -> Tensor:
        """Encode images as unit vectors (images, dimensions)."""
        parts = []
        for i in range(0, len(images), 512):
            pixels = torch.stack([self.preprocess(image) for image in images[i : i + 512]])
            parts.append(self.model.encode_image(pixels, normalize=True))
        return torch.cat(parts)


def load(folder: Path) -> Eyes:
    """Load the model in a folder."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    return Eyes(model=model, preprocess=preprocess, tokenizer=open_clip.get_tokenizer(name))


def read(folder: Path, *, source: str, split: str) -> tuple[list[Item], list[Image.Image]]:
    """Read items and images of one split, without the photographs of UPDATE_CLASSES."""
    with zipfile.ZipFile(folder / "sets" / f"{source}.zip") as archive:
        items = items_of(archive, source=source, split=split)
        if source == "cifar100":
            items = [i for i in items if i.path.split("/")[1] not in UPDATE_CLASSES]
        images = [Image.open(io.BytesIO(archive.read(i.path))).convert("RGB") for i in items]
    return items, images


def top1(eyes: Eyes, items: Sequence[Item], seen: Tensor, *, template: str) -> float:
    """Return the percentage of images whose own name is the nearest of all items' names.

    `seen` are the images' features (images, dimensions).
    """
    names = sorted({item.name for item in items})
    texts = eyes.texts([template.format(name=name) for name in names])
    best = (seen @ texts.T).argmax(1).tolist()
    right: int = sum(names[b] == item.name for b, item in zip(best, items, strict=True))
    return 100 * right / len(items)


def recall(
    eyes: Eyes, items: Sequence[Item], seen: Tensor, *, template: str
) -> tuple[float, float]:
    """Return R@1 image to text and text to image, in percent; equal captions count as hits."""
    names = [item.name for item in items]
    scores = seen @ eyes.texts([template.format(name=name) for name in names]).T
    to_text = [names[b] == n for b, n in zip(scores.argmax(1).tolist(), names, strict=True)]
    to_image = [names[b] == n for b, n in zip(scores.argmax(0).tolist(), names, strict=True)]
    return 100 * sum(to_text) / len(names), 100 * sum(to_image) / len(names)


def spread(items: Sequence[Item], count: int) -> list[int]:
    """Return `count` evenly spaced positions."""
    return [i * len(items) // count for i in range(count)]


def accuracies(eyes: Eyes, folder: Path, *, template: str) -> dict[str, float]:
    """Return every number of the model card, in percent."""
    found = {}
    for title, source, split in (
        ("CIFAR-100 test, 80 classes", "cifar100", "test"),
        ("Twemoji, unseen style", "emoji_twemoji", "heldout_style"),
        ("Twemoji, unseen concepts and style", "emoji_twemoji", "heldout_concept"),
        ("Noto, unseen concepts", "emoji_noto", "heldout_concept"),
        ("Fashion-MNIST, unseen", "fashion_mnist", "test"),
    ):
        items, images = read(folder, source=source, split=split)
        seen = eyes.images(images)
        classes = len({item.name for item in items})
        key = f"{title}: top-1 of {len(items)} images, {classes} classes"
        found[key] = top1(eyes, items, seen, template=template)
        if split == "heldout_style":
            chosen = spread(items, 1000)
            there, back = recall(eyes, [items[i] for i in chosen], seen[chosen], template="{name}")
            found["Twemoji, 1,000 captions: R@1 image to text"] = there
            found["Twemoji, 1,000 captions: R@1 text to image"] = back
    items, images = read(folder, source="openclipart", split="heldout_pair")
    there, back = recall(eyes, items, eyes.images(images), template="{name}")
    found[f"Open Clip Art, {len(items)} captions: R@1 image to text"] = there
    found[f"Open Clip Art, {len(items)} captions: R@1 text to image"] = back
    return found


def main() -> None:
    """Print the accuracies as a table or as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, default=Path(__file__).parent)
    parser.add_argument("--template", default=TEMPLATES[0])
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = accuracies(load(chosen.model), chosen.data, template=chosen.template)
    if chosen.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    width = max(map(len, found))
    sys.stdout.write(f"template: {chosen.template}\n")
    for title, value in found.items():
        sys.stdout.write(f"{title:{width}}  {value:5.1f} %\n")


if __name__ == "__main__":
    main()
