"""How far images of listed classes stand out from images of none, and thresholds between them."""

from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from core.domain.datasets.manifest import ManifestEntry
from core.domain.datasets.split import Part
from core.domain.rejection.calibrate import Observed, Scores, calibrate
from core.domain.rejection.calibration import (
    POOLED,
    Calibration,
    ListCalibration,
    SourceCalibration,
    Statistic,
)
from core.domain.rejection.query import (
    LISTS,
    CalibrationSource,
    circle_of,
    list_sizes,
    list_starts,
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
    )  # (images, lists, with and without)
    steps = starts[..., None] + torch.arange(size)
    columns = torch.tensor(circle)[steps % len(circle)].to(cosines.device)
    images = torch.arange(len(entries), device=cosines.device)[:, None]
    scores: dict[Statistic, Scores] = {}
    for kind in Statistic if size > 1 else (Statistic.MAX_COSINE,):
        values = [
            torch.cat(
                [
                    _statistic(kind, cosines[images, columns[:, number, without]], scale)
                    for number in range(LISTS)
                ]
            ).tolist()
            for without in (0, 1)
        ]
        scores[kind] = Scores(known=values[0], unknown=values[1])
    return Observed(scores=scores, images=len(entries))


def _statistic(kind: Statistic, cosines: Tensor, scale: float) -> Tensor:
    """Return the statistic of each image (images,) by its cosines with a list's classes."""
    match kind:
        case Statistic.MAX_COSINE:
            return cosines.amax(dim=1)
        case Statistic.MAX_SOFTMAX:
            return (scale * cosines).softmax(dim=1).amax(dim=1)
    best = cosines.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


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
