"""Recall@10 of searches in an index of image vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

from core.domain.vectors.compatibility import DEPTH
from core.evaluation.neighbours import best_rows, ignore_block

_BLOCK = 512  # queries scored at a time


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
