"""A version's searches in an index of another's vectors: as it is, bridged, re-embedded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from core.evaluation.queries import ClassQuery, EvalQuery, RetrievalQuery
from core.scoring.evaluator import Features, texts_of
from core.vectors.rules import DEPTH, Search, SearchRecalls, SuiteVectors

# A map of one version's vectors to another's, for an index whose images are not embedded again.

FOLDS = 4
RIDGES = (0.01, 0.1, 1.0, 10.0)  # shares of the vectors' mean variance in a direction
ORTHOGONAL, AFFINE = "orthogonal", "affine"

_Fit = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The map v -> normalise(v @ weight + bias) of old vectors.

    `weight` is (width, width) and `bias` (width,). `scores` has the mean cosine of each candidate
    with the new vectors, on folds that it was not fitted on; `kind` is the best of them.
    """

    kind: str
    weight: Tensor
    bias: Tensor
    images: int  # that it was fitted on
    scores: Mapping[str, float]

    def apply(self, vectors: Tensor) -> Tensor:
        """Return the images of old vectors (rows, width), L2-normalised, in the bridge's dtype."""
        return _mapped(vectors.to(self.weight), self.weight, self.bias)

    @classmethod
    def fit(cls, old: Tensor, new: Tensor) -> Self:
        """Fit the best of several maps to vectors of the same images by two versions.

        Both are (images, width), in fp32 or fp64; fitting is in fp64. The candidates are fitted on
        three quarters of the images in turn and compared on the fourth; the best is fitted on all.
        """
        old, new = old.double().cpu(), new.double().cpu()
        fits = _fits()
        scores = {name: _cross_validated(fit, old, new) for name, fit in fits.items()}
        best = max(fits, key=lambda name: scores[name])
        weight, bias = fits[best](old, new)
        return cls(kind=best, weight=weight, bias=bias, images=len(old), scores=scores)


def orthogonal(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Return the orthogonal matrix W that minimises |old @ W - new|, and no bias.

    W = U V^T of the singular value decomposition U S V^T of old^T new (P. H. Schoenemann,
    Psychometrika 31 (1966) 1-10). It leaves all cosines between old vectors as they are.
    """
    left, _, right = torch.linalg.svd(old.T @ new)
    return left @ right, torch.zeros(old.shape[1], dtype=old.dtype)


def affine(old: Tensor, new: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return the W and b that minimise |old @ W + b - new|^2 + r |W - I|^2.

    r is `ridge` times the mean variance of the old vectors in a direction. The penalty pulls
    towards the identity, because a version's vectors are near its parent's, and so few images in
    many dimensions change little (A. E. Hoerl and R. W. Kennard, Technometrics 12 (1970) 55-67).
    """
    width = old.shape[1]
    identity = torch.eye(width, dtype=old.dtype)
    old_mean, new_mean = old.mean(dim=0), new.mean(dim=0)
    old, new = old - old_mean, new - new_mean
    squares = old.T @ old  # (width, width)
    penalty = ridge * squares.trace() / width + torch.finfo(old.dtype).eps
    weight = identity + torch.linalg.solve(squares + penalty * identity, old.T @ (new - old))
    return weight, new_mean - old_mean @ weight


def _fits() -> dict[str, _Fit]:
    def with_ridge(ridge: float) -> _Fit:
        return lambda old, new: affine(old, new, ridge)

    return {
        ORTHOGONAL: orthogonal,
        **{f"{AFFINE}, ridge {ridge:g}": with_ridge(ridge) for ridge in RIDGES},
    }


def _cross_validated(fit: _Fit, old: Tensor, new: Tensor) -> float:
    fold = torch.arange(len(old)) % FOLDS
    cosines = []
    for number in range(FOLDS):
        asked = fold == number
        weight, bias = fit(old[~asked], new[~asked])
        cosines.append((_mapped(old[asked], weight, bias) * new[asked]).sum(dim=1))
    return float(torch.cat(cosines).mean())


def _mapped(vectors: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mapped = vectors @ weight + bias
    lengths: Tensor = mapped.norm(dim=1, keepdim=True)
    return mapped / lengths


# The nearest images of each image, by one version and across two.

NEIGHBOURS = 10
_BLOCK = 512  # queries scored at a time


def ignore_block() -> None:
    """Do nothing about a block of queries that is about to be scored."""


def best_rows(scores: Tensor, count: int) -> Tensor:
    """Return the rows with the `count` highest scores, (queries, count), in ascending order.

    `scores` is (queries, rows). Ties go to the lower row. Only queries with a tie at the end are
    sorted, since sorting takes much longer than selecting.
    """
    if count == scores.shape[1]:
        return torch.arange(count, device=scores.device).expand(len(scores), count)
    highest, rows = scores.topk(count + 1, dim=1)
    best = rows[:, :count]
    if count:
        tied = highest[:, -1] == highest[:, -2]
        best[tied] = scores[tied].argsort(dim=1, descending=True, stable=True)[:, :count]
    return best.sort(dim=1).values


def nearest(
    queries: Tensor,
    index: Tensor,
    count: int = NEIGHBOURS,
    on_block: Callable[[], object] = ignore_block,
) -> Tensor:
    """Return the rows of the index nearest to each query, as `best_rows` does, its own left out.

    Query i is about the same image as row i of the index. Both are L2-normalised. With fewer other
    rows than `count`, all are returned. `on_block` is called before each 512 queries.
    """
    count = min(count, len(index) - 1)
    found = []
    for start in range(0, len(queries), _BLOCK):
        on_block()
        scores = queries[start : start + _BLOCK] @ index.T  # (block, rows)
        own = torch.arange(start, start + len(scores), device=index.device)
        scores = scores.scatter(1, own[:, None], -torch.inf)
        found.append(best_rows(scores, count))
    return torch.cat(found)


def share_in_common(one: Tensor, other: Tensor) -> float:
    """Return the mean share of each row's entries that are also in the other's row.

    Both are (rows, count), as `nearest` returns them.
    """
    kept = (one[:, :, None] == other[:, None, :]).any(dim=2)  # (rows, count)
    return float(kept.double().mean())


# Recall@10 of searches in an index of image vectors.


def recall_at_10(
    queries: Tensor,
    index: Tensor,
    groups: Tensor,
    wanted: Tensor,
    own: Tensor | None = None,
    on_block: Callable[[], object] = ignore_block,
) -> Tensor:
    """Return the share of its right images that each query finds first, (queries,), in fp64.

    `queries` is (queries, width) and `index` (images, width), both L2-normalised. `groups`
    (images,) numbers what each image shows and `wanted` (queries,) what each query looks for: an
    image of the same number is right. `own` (queries,) is the row of each query's own image, which
    is left out. Of more than ten right images, ten count as all (the capped recall of N. Thakur et
    al., 2104.08663). Ties go to the lower row. A query without a right image is NaN.
    `on_block` is called before each 512 queries.
    """
    depth = min(DEPTH, len(index) - (own is not None))
    found = []
    for start in range(0, len(queries), _BLOCK):
        on_block()
        stop = start + _BLOCK
        scores = queries[start:stop] @ index.T  # (block, images)
        right = groups == wanted[start:stop, None]  # (block, images)
        if own is not None:
            left_out = own[start:stop, None]
            scores = scores.scatter(1, left_out, -torch.inf)
            right = right.scatter(1, left_out, value=False)
        hits = right.gather(1, best_rows(scores, depth)).sum(dim=1).double()
        found.append(hits / right.sum(dim=1).clamp(max=DEPTH).double())
    return torch.cat(found)


def mean_of_groups(values: Tensor, groups: Tensor) -> Tensor:
    """Return the mean value of each group that is there, in the order of their numbers.

    So several captions of one image count as one query. Both are (queries,).
    """
    _, rows = torch.unique(groups, return_inverse=True)
    sums = torch.zeros(int(rows.max()) + 1, dtype=values.dtype).index_add(0, rows, values)
    return sums / torch.bincount(rows)


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


# Projections of two versions' embeddings of the same images on the same two axes.


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The points of two versions, (images, 2) each, and the share of the variance of each axis."""

    old: Tensor
    new: Tensor
    explained: Tensor  # (2,)


def project(old: Tensor, new: Tensor) -> Projection:
    """Return the principal components of both versions' embeddings together, in fp64.

    `old` and `new` are (images, width). The axes are the first two eigenvectors of the covariance
    of all rows; the sign of each is such that its largest coordinate is positive. With less than
    two dimensions, the missing coordinate is 0.
    """
    both = torch.cat([old, new]).double().cpu()  # (2 images, width)
    centred = both - both.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    axes = vectors[:, -2:].flip(1)  # (width, 2)
    largest = axes.gather(0, axes.abs().argmax(dim=0)[None])  # (1, 2)
    points = centred @ (axes * torch.where(largest < 0, -1.0, 1.0))
    shares = values[-2:].flip(0).clamp(min=0) / values.clamp(min=0).sum().clamp(min=1e-12)
    if points.shape[1] < 2:
        points = torch.nn.functional.pad(points, (0, 1))
        shares = torch.nn.functional.pad(shares, (0, 1))
    before, now = points.split(len(old))
    return Projection(old=before, new=now, explained=shares)
