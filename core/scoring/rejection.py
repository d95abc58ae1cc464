"""Statistics that tell images of listed classes from images of none, and thresholds for them."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from core.datasets.manifests import ManifestEntry, Part
from core.rejection.queries import CalibrationSource, circle_of, list_sizes, list_starts
from core.rejection.rules import (
    POOLED,
    Calibration,
    ListCalibration,
    Observed,
    Scores,
    SourceCalibration,
    Statistic,
    calibrate,
)

Encode = Callable[[Sequence[ManifestEntry]], Tensor]  # to L2-normalised features (images, width)
_Parts = dict[Part, Observed]


def calibration_of(
    sources: Sequence[CalibrationSource], images: Encode, texts: Callable[..., Tensor], scale: float
) -> Calibration:
    """Return the thresholds of a version for the sources, and for all of them together.

    `texts` encodes prompts to L2-normalised features (texts, width); `scale` is the factor of
    logits. Without a source if a feature is not finite.
    """
    observed: list[dict[int, _Parts]] = []
    for source in sources:
        columns = texts(source.prompt.fill_all(source.classes))  # (classes, width)
        cosines = {
            part: images(source.on(part)) @ columns.T  # (images, classes)
            for part in Part
        }
        if not all(bool(found.isfinite().all()) for found in cosines.values()):
            return Calibration()
        observed.append(
            {
                size: {
                    part: observe(source.on(part), source.classes, cosines[part], size, scale)
                    for part in Part
                }
                for size in list_sizes(len(source.classes))
            }
        )
    found = [
        SourceCalibration(
            name=source.name,
            classes=source.classes,
            prompt=source.prompt.text,
            lists=_lists(by_size),
        )
        for source, by_size in zip(sources, observed, strict=True)
    ]
    if len(sources) > 1:
        pooled = SourceCalibration(
            name=POOLED, classes=(), prompt=None, lists=_lists(_together(observed))
        )
        found.append(pooled)
    return Calibration(sources=tuple(source for source in found if source.lists))


def observe(
    entries: Sequence[ManifestEntry],
    classes: Sequence[str],
    cosines: Tensor,
    size: int,
    scale: float,
) -> Observed:
    """Return the statistics of images for lists of one length, with their class and without it.

    `cosines` is (images, classes).
    """
    circle = circle_of(classes)
    at = {classes[place].lower(): step for step, place in enumerate(circle)}
    starts = torch.tensor(
        [
            list_starts(entry.pixels, at[entry.class_name.lower()], size, len(circle))
            for entry in entries
        ]
    )  # (images, with and without)
    around = cosines[:, list(circle)].repeat(1, 2)  # so that no list ends at the end of the circle
    windows = around.unfold(1, size, 1)  # (images, starts, size), a view
    images = torch.arange(len(entries))
    known, unknown = (_statistics(windows[images, starts[:, without]], scale) for without in (0, 1))
    return Observed(
        scores={
            kind: Scores(known=known[kind].tolist(), unknown=unknown[kind].tolist())
            for kind in known
        }
    )


def _statistics(cosines: Tensor, scale: float) -> dict[Statistic, Tensor]:
    """Return the statistics of images (images,) by their cosines with a list's classes."""
    best = cosines.topk(min(2, cosines.shape[1]), dim=1).values
    found = {Statistic.MAX_COSINE: best[:, 0]}
    if cosines.shape[1] > 1:
        rest = (scale * cosines).logsumexp(dim=1)
        found[Statistic.MAX_SOFTMAX] = (scale * best[:, 0] - rest).exp()
        found[Statistic.MARGIN] = best[:, 0] - best[:, 1]
    return found


def _lists(by_size: dict[int, _Parts]) -> tuple[ListCalibration, ...]:
    found = (
        calibrate(size, parts[Part.VALIDATION], parts[Part.TEST])
        for size, parts in sorted(by_size.items())
    )
    return tuple(one for one in found if one is not None)


def _together(observed: Sequence[dict[int, _Parts]]) -> dict[int, _Parts]:
    """Return what was observed on all sources that have lists of a length."""
    sizes = {size for by_size in observed for size in by_size}
    return {
        size: {
            part: reduce(add, [by_size[size][part] for by_size in observed if size in by_size])
            for part in Part
        }
        for size in sizes
    }
