"""The features of all images and texts that queries ask about."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from core.clip.batch_prefetch import Prefetcher
from core.clip.decoded_images import DecodedImages
from core.clip.model import ClipModel
from core.domain.datasets.manifest import ManifestEntry
from core.domain.evaluation.query import ClassQuery, EvalQuery
from core.domain.rejection.query import CalibrationQuery
from core.domain.values import Digest
from core.ports import Monitor

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features (count, width) and the row of each image and text."""

    images: Tensor
    image_rows: Mapping[Digest, int]
    texts: Tensor
    text_rows: Mapping[str, int]

    def of_images(self, entries: Sequence[ManifestEntry]) -> Tensor:
        """Return the features of images."""
        rows = [self.image_rows[entry.pixels] for entry in entries]
        return self.images[torch.tensor(rows, device=self.images.device)]

    def of_texts(self, texts: Iterable[str]) -> Tensor:
        """Return the features of texts."""
        rows = [self.text_rows[text] for text in texts]
        return self.texts[torch.tensor(rows, device=self.texts.device)]


def encode(
    model: ClipModel,
    decoded: DecodedImages,
    queries: Sequence[EvalQuery],
    batch: int,
    monitor: Monitor,
) -> Features:
    """Encode the images and texts of all queries, each once, and report the progress."""
    entries = {entry.pixels: entry for query in queries for entry in query.entries}
    texts = list(dict.fromkeys(text for query in queries for text in texts_of(query)))
    total = len(entries) + len(texts)
    monitor.advance("evaluating", 0, total)

    text_blocks: list[Tensor] = []
    done = 0
    for names in _batches(texts, batch):
        text_blocks.append(model.encode_texts(names))  # (batch, width)
        done += len(names)
        monitor.advance("evaluating", done, total)

    image_blocks: list[Tensor] = []
    groups = list(_batches(entries.values(), batch))

    def decode(group: int) -> Tensor:
        images = [decoded.of(entry) for entry in groups[group]]
        return torch.from_numpy(np.stack(images))  # torch would start threads to stack

    with Prefetcher(decode, 0, len(groups), device=model.device) as ahead:
        for group in groups:
            image_blocks.append(model.encode_images(ahead.take()))  # (batch, width)
            done += len(group)
            monitor.advance("evaluating", done, total)

    return Features(
        images=torch.cat(image_blocks),
        image_rows={pixels: row for row, pixels in enumerate(entries)},
        texts=torch.cat(text_blocks),
        text_rows={text: row for row, text in enumerate(texts)},
    )


def texts_of(query: EvalQuery) -> tuple[str, ...]:
    """Return the texts that a query compares images with: class prompts or captions."""
    if isinstance(query, CalibrationQuery):
        sources = query.sources
        return tuple(text for one in sources for text in one.prompt.fill_all(one.classes))
    if isinstance(query, ClassQuery):
        return query.prompt.fill_all(query.classes)
    return tuple(text for entry in query.entries for text in entry.texts)


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
