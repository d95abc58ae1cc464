"""The share of fine-tuning's forgetting that a method avoids, with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.gate.intervals import Flips, Interval, paired_interval

ALPHA = 0.025  # each side: two-sided 95 %
RESAMPLES = 5000
_BLOCK = 250  # resamples at a time

Hits = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One retained measure, image by image: `before` (images,), the others (seeds, images).

    Row s of both methods has the same seed.
    """

    before: Hits
    method: Hits
    tuned: Hits  # fine-tuning


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of fine-tuning's loss that a method avoids.

    1 means no loss, 0 the same loss as fine-tuning, less than 0 a larger one. `interval` is None
    where fine-tuning's own loss is not significantly above zero, for then the ratio has no meaning.
    """

    value: float
    interval: Interval | None
    tuned_loss: float
    method_loss: float


def share_kept(measures: Sequence[Measured], *, seed: int = 0, resamples: int = RESAMPLES) -> Share:
    """Return 1 - loss(method) / loss(fine-tuning), each loss a mean over seeds and measures.

    The interval of level 95 % is a percentile bootstrap over images (within each measure) and
    seeds. A resample takes the same images and seeds for the untouched model and both methods, so
    variation that they share cancels. With three seeds, the variation between seeds is poorly
    estimated.
    """
    tuned = float(np.mean([m.before.mean() - m.tuned.mean() for m in measures]))
    method = float(np.mean([m.before.mean() - m.method.mean() for m in measures]))
    draws = np.random.default_rng(seed)
    seeds = len(measures[0].tuned)
    picked = draws.integers(seeds, size=(resamples, seeds))  # (resamples, seeds)
    losses = np.zeros((2, resamples))  # fine-tuning, method
    for measure in measures:
        before, by_seed = _resampled(measure, draws, resamples)
        for which in range(2):
            mean = np.take_along_axis(by_seed[which], picked.T, axis=0).mean(axis=0)
            losses[which] += (before - mean) / len(measures)
    interval = None
    if tuned > 0 and np.quantile(losses[0], ALPHA) > 0:
        lower, upper = np.quantile(1 - losses[1] / losses[0], [ALPHA, 1 - ALPHA])
        interval = Interval(lower=float(lower), upper=float(upper))
    value = 1 - method / tuned if tuned else float("nan")
    return Share(value=value, interval=interval, tuned_loss=tuned, method_loss=method)


def _resampled(
    measure: Measured, draws: np.random.Generator, resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return accuracies over resampled images: before (resamples,), and (2, seeds, resamples)."""
    images, seeds = len(measure.before), len(measure.tuned)
    # (1 + 2 seeds, images): the untouched model, fine-tuning, the method
    answers = np.vstack([measure.before, measure.tuned, measure.method]).astype(np.float32)
    blocks = []
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        weights = draws.multinomial(images, np.full(images, 1 / images), size=count)
        blocks.append(answers @ weights.T.astype(np.float32))  # (rows, count)
    shares = np.concatenate(blocks, axis=1).astype(np.float64) / images
    return shares[0], shares[1:].reshape(2, seeds, resamples)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An accuracy minus fine-tuning's, with Tango's paired interval of level 95 %."""

    value: float
    interval: Interval


def difference(method: Hits, tuned: Hits) -> Difference:
    """Return UT-Acc minus fine-tuning's, paired by image; both hits are (seeds, images).

    Flips are averaged over seeds, so the interval is based on the number of images alone.
    """
    flips = Flips(
        count=method.shape[1],
        gained=float((method & ~tuned).sum(axis=1).mean()),
        lost=float((tuned & ~method).sum(axis=1).mean()),
    )
    return Difference(value=flips.difference, interval=paired_interval(flips, ALPHA))


def stacked(hits: Iterable[Hits]) -> Hits:
    """Stack one row per seed to (seeds, images)."""
    return np.stack(list(hits))
