"""A version's searches in an index of another version's vectors: as it is, bridged, re-embedded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from core.domain.evaluation.query import ClassQuery, EvalQuery, RetrievalQuery
from core.domain.vectors.compatibility import Search, SearchRecalls, SuiteVectors
from core.evaluation.bridge import Bridge
from core.evaluation.features import Features, texts_of
from core.evaluation.neighbours import ignore_block, nearest, share_in_common
from core.evaluation.search_recall import mean_of_groups, recall_at_10


@dataclass(frozen=True, kw_only=True)
class Indexes:
    """Vectors of the same images, (images, width) each, and queries of the new version."""

    raw: Tensor
    bridged: Tensor
    reembedded: Tensor  # also its queries by image
    texts: Tensor  # its queries by text, (texts, width)


def indexes_of(query: EvalQuery, old: Features, new: Features, bridge: Bridge) -> Indexes:
    """Return the three indexes of a query's images, in fp32 on the CPU."""
    raw = old.of_images(query.entries).cpu()
    return Indexes(
        raw=raw,
        bridged=bridge.apply(raw).float(),
        reembedded=new.of_images(query.entries).cpu(),
        texts=new.of_texts(texts_of(query)).cpu(),
    )


def search_recalls(
    suite: str,
    query: EvalQuery,
    indexes: Indexes,
    on_block: Callable[[], object] = ignore_block,
) -> Iterator[SearchRecalls]:
    """Yield the recalls of each search that the suite has right images for.

    Captions, or the prompts of classes, look for their images. Images look for others of their
    class. `on_block` is called before each block of queries.
    """
    by_text = _text_search(query, indexes.texts)
    yield _compared(suite, Search.TEXT_TO_IMAGE, by_text, indexes, on_block)
    if isinstance(query, ClassQuery):
        classes = _classes_of(query)
        own = torch.arange(len(classes))
        by_image = _Asked(
            queries=indexes.reembedded, groups=classes, wanted=classes, clusters=own, own=own
        )
        if (classes.bincount() > 1).any():
            yield _compared(suite, Search.IMAGE_TO_IMAGE, by_image, indexes, on_block)


def compare_vectors(
    suite: str, indexes: Indexes, on_block: Callable[[], object] = ignore_block
) -> SuiteVectors:
    """Return how the vectors of a suite's images compare, and the neighbours that are found.

    `on_block` is called before each block of images.
    """
    search = partial(nearest, on_block=on_block)
    found = search(indexes.reembedded, indexes.reembedded)
    within_old = search(indexes.raw, indexes.raw)
    in_raw, in_bridged = (
        search(indexes.reembedded, index) for index in (indexes.raw, indexes.bridged)
    )
    return SuiteVectors(
        suite=suite,
        images=len(indexes.raw),
        cosine=_cosine(indexes.raw, indexes.reembedded),
        bridged_cosine=_cosine(indexes.bridged, indexes.reembedded),
        neighbours_kept=share_in_common(within_old, found),
        neighbours_found=share_in_common(found, in_raw),
        bridged_neighbours_found=share_in_common(found, in_bridged),
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Queries, the numbers of what is right, and the queries that count as one."""

    queries: Tensor
    groups: Tensor
    wanted: Tensor
    clusters: Tensor
    own: Tensor | None = None


def _compared(
    suite: str,
    search: Search,
    asked: _Asked,
    indexes: Indexes,
    on_block: Callable[[], object],
) -> SearchRecalls:
    recalls = partial(_recalls, asked, on_block)
    return SearchRecalls(
        suite=suite,
        search=search,
        raw=recalls(indexes.raw),
        bridged=recalls(indexes.bridged),
        reembedded=recalls(indexes.reembedded),
    )


def _recalls(asked: _Asked, on_block: Callable[[], object], index: Tensor) -> tuple[float, ...]:
    found = recall_at_10(asked.queries, index, asked.groups, asked.wanted, asked.own, on_block)
    answered = ~found.isnan()
    return tuple(mean_of_groups(found[answered], asked.clusters[answered]).tolist())


def _text_search(query: EvalQuery, texts: Tensor) -> _Asked:
    if isinstance(query, RetrievalQuery):
        images = torch.arange(len(query.entries))
        owner = torch.tensor([i for i, entry in enumerate(query.entries) for _ in entry.texts])
        return _Asked(queries=texts, groups=images, wanted=owner, clusters=owner)
    if not isinstance(query, ClassQuery):
        raise TypeError(type(query))
    names = _numbers(query.classes)
    wanted = torch.tensor([names[name.lower()] for name in query.classes])
    return _Asked(queries=texts, groups=_classes_of(query), wanted=wanted, clusters=wanted)


def _classes_of(query: ClassQuery) -> Tensor:
    names = _numbers(query.classes)
    return torch.tensor([names[entry.class_name.lower()] for entry in query.entries])


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    """Return a number for each class; names that differ only in case have the same prompt."""
    return {name: number for number, name in enumerate(dict.fromkeys(map(str.lower, classes)))}


def _cosine(one: Tensor, other: Tensor) -> float:
    return float((one.double() * other.double()).sum(dim=1).mean())
