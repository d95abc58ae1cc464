"""The vectors of a captioned set by a version, and what can be told from them alone."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.study.compatibility import Embeddings, compatibility
from benchmarks.study.folds import FOLD, fold_recalls
from core.clip.images import read_image
from core.clip.model import ClipModel
from core.domain.evaluation.query import RetrievalQuery
from core.domain.values import Digest
from core.ports import Artifacts

_BATCH = 128

Item = TypeVar("Item")


@torch.inference_mode()
def embed(model: ClipModel, question: RetrievalQuery, artifacts: Artifacts) -> Embeddings:
    """A model's vectors of the captioned images, as evaluation makes them."""

    def pixels(artifact: Digest) -> Tensor:
        return model.preprocess.evaluation_pixels(read_image(artifacts.get(artifact)))

    return Embeddings(
        images=_in_batches(
            [entry.artifact for entry in question.entries],
            lambda group: model.encode_images(torch.stack([pixels(one) for one in group])),
        ),
        captions=_in_batches(
            [text for entry in question.entries for text in entry.texts], model.encode_texts
        ),
    )


def compare(old: Embeddings, new: Embeddings, question: RetrievalQuery) -> dict[str, float]:
    """An index made by `old`, asked by `new`, as scores named `index/...`."""
    found = asdict(compatibility(old, new, _owner(new, question)))
    scores: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, tuple):
            scores[f"index/{name}/image_to_text"], scores[f"index/{name}/text_to_image"] = value
        else:
            scores[f"index/{name}"] = value
    return scores


def in_folds(new: Embeddings, question: RetrievalQuery) -> dict[str, float]:
    """Recalls over galleries of 1,000 images as `folds_1k/...`; none where there are no more."""
    if len(question.entries) <= FOLD:
        return {}
    ways = fold_recalls(new.images, new.captions, _owner(new, question))
    return {
        f"folds_1k/{way}/{depth}": recall
        for way, found in zip(("image_to_text", "text_to_image"), ways, strict=True)
        for depth, recall in found.items()
    }


def _owner(embedded: Embeddings, question: RetrievalQuery) -> Tensor:
    owner = [index for index, entry in enumerate(question.entries) for _ in entry.texts]
    return torch.tensor(owner, device=embedded.images.device)


def _in_batches(items: Sequence[Item], encode: Callable[[Sequence[Item]], Tensor]) -> Tensor:
    return torch.cat([encode(items[i : i + _BATCH]) for i in range(0, len(items), _BATCH)])
