"""A version's vectors of a captioned set, and the scores computed from them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.study.measures.folds import FOLD, fold_recalls
from benchmarks.study.measures.index_compatibility import Embeddings, compatibility
from core.clip.images import read_image
from core.clip.model import ClipModel
from core.domain.evaluation.query import RetrievalQuery
from core.domain.values import Digest
from core.ports import Artifacts

_BATCH = 128

Item = TypeVar("Item")


@torch.inference_mode()
def embed(model: ClipModel, query: RetrievalQuery, artifacts: Artifacts) -> Embeddings:
    """Encode the captioned images with a model, as evaluation does."""

    def pixels(artifact: Digest) -> Tensor:
        return model.preprocess.evaluation_pixels(read_image(artifacts.get(artifact)))

    return Embeddings(
        images=_in_batches(
            [entry.artifact for entry in query.entries],
            lambda group: model.encode_images(torch.stack([pixels(one) for one in group])),
        ),
        captions=_in_batches(
            [text for entry in query.entries for text in entry.texts], model.encode_texts
        ),
    )


def compare(old: Embeddings, new: Embeddings, query: RetrievalQuery) -> dict[str, float]:
    """Return the compatibility of `old` as index with queries of `new`, as scores `index/...`."""
    found = asdict(compatibility(old, new, _owner(new, query)))
    scores: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, tuple):
            scores[f"index/{name}/image_to_text"], scores[f"index/{name}/text_to_image"] = value
        else:
            scores[f"index/{name}"] = value
    return scores


def in_folds(new: Embeddings, query: RetrievalQuery) -> dict[str, float]:
    """Return recalls over galleries of 1,000 images as `folds_1k/...`, or none for smaller sets."""
    if len(query.entries) <= FOLD:
        return {}
    ways = fold_recalls(new.images, new.captions, _owner(new, query))
    return {
        f"folds_1k/{way}/{depth}": recall
        for way, found in zip(("image_to_text", "text_to_image"), ways, strict=True)
        for depth, recall in found.items()
    }


def _owner(embedded: Embeddings, query: RetrievalQuery) -> Tensor:
    owner = [index for index, entry in enumerate(query.entries) for _ in entry.texts]
    return torch.tensor(owner, device=embedded.images.device)


def _in_batches(items: Sequence[Item], encode: Callable[[Sequence[Item]], Tensor]) -> Tensor:
    return torch.cat([encode(items[i : i + _BATCH]) for i in range(0, len(items), _BATCH)])
