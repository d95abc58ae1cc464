"""The compatibility of one version's index with another version's queries."""

from dataclasses import dataclass

from torch import Tensor

from core.domain.evaluation.metrics import recall_at
from core.evaluation.neighbours import neighbours_kept
from core.evaluation.retrieval import caption_ranks, image_ranks


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """A version's vectors of images (images, width) and captions (captions, width)."""

    images: Tensor
    captions: Tensor


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """The quality of retrieval when two versions' vectors are mixed.

    The recalls are of the new version's queries on the old version's gallery and the reverse;
    each is image-to-text and text-to-image R@1. `neighbours_kept` is the mean share of each
    image's ten nearest images that both versions have in common.
    """

    new_on_old: tuple[float, float]
    old_on_new: tuple[float, float]
    image_cosine: float
    caption_cosine: float
    neighbours_kept: float


def compatibility(old: Embeddings, new: Embeddings, owner: Tensor) -> Compatibility:
    """Compare two versions on the same captioned images; `owner` is each caption's image."""
    return Compatibility(
        new_on_old=_recall(new, old, owner),
        old_on_new=_recall(old, new, owner),
        image_cosine=_cosine(old.images, new.images),
        caption_cosine=_cosine(old.captions, new.captions),
        neighbours_kept=neighbours_kept(old.images, new.images),
    )


def _recall(queries: Embeddings, gallery: Embeddings, owner: Tensor) -> tuple[float, float]:
    return (
        recall_at(image_ranks(queries.images, gallery.captions, owner), 1),
        recall_at(caption_ranks(gallery.images, queries.captions, owner), 1),
    )


def _cosine(old: Tensor, new: Tensor) -> float:
    return float((old * new).sum(dim=1).double().mean())
