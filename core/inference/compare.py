"""The classes that are most like images, and their probabilities.

A copy of it runs beside each version that `perennial mlflow mirror` makes loadable.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def compare(
    features: Floats, *, scale: float, columns: Floats, top_k: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return the places of the best classes (images, k), their probabilities, greatest cosines.

    Of classes with the same probability, the first ones come first.
    """
    cosines = features @ columns.T  # (images, classes)
    shares = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    best = _greatest(shares, top_k)
    greatest = np.take_along_axis(cosines, _greatest(cosines, 2), axis=1)
    return best, np.take_along_axis(shares, best, axis=1), greatest


def _greatest(values: Floats, count: int) -> NDArray[np.int64]:
    """Return the places of the greatest values of each row, in descending order."""
    count = min(count, values.shape[1])
    least = np.partition(values, -count, axis=1)[:, -count, None]
    # Places of values that are not among the greatest sort last.
    order = np.argsort(np.where(values >= least, -values, np.inf), axis=1, kind="stable")
    return order[:, :count]
