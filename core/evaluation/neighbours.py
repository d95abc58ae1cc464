"""The nearest images of each image, by one version and across two."""

import torch
from torch import Tensor

NEIGHBOURS = 10
_BLOCK = 512  # queries scored at a time


def nearest(queries: Tensor, index: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """Return the rows of the index nearest to each query, (queries, count), its own left out.

    Query i is about the same image as row i of the index. Both are L2-normalised. Ties go to the
    lower row. With fewer other rows than `count`, all are returned.
    """
    count = min(count, len(index) - 1)
    found = []
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ index.T  # (block, rows)
        own = torch.arange(start, start + len(scores), device=index.device)
        scores = scores.scatter(1, own[:, None], -torch.inf)
        found.append(scores.argsort(dim=1, descending=True, stable=True)[:, :count])
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
