"""The nearest images of each image, by one version and across two."""

from collections.abc import Callable

import torch
from torch import Tensor

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


def neighbours_kept(old: Tensor, new: Tensor) -> float:
    """Return the mean share of each image's ten nearest that are the same within both versions."""
    return share_in_common(nearest(old, old), nearest(new, new))
