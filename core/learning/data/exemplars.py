"""The choice of exemplars: a fixed number of images of earlier updates, kept for replay."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from core.domain.datasets.manifest import ManifestEntry
from core.domain.recipes.choices import ExemplarChoice
from core.domain.recipes.exemplar_quota import exemplar_quota
from core.learning.data.vocabulary import generator_of
from core.ports import ignore_progress


def choose_exemplars(
    candidates: Sequence[ManifestEntry],
    encode: Callable[[Sequence[ManifestEntry]], Tensor],
    *,
    count: int,
    choice: ExemplarChoice,
    seed: int,
    advance: Callable[[int, int], None] = ignore_progress,
) -> tuple[ManifestEntry, ...]:
    """Choose up to `count` candidates, equally many of each class and at least one.

    Names that differ only in case are one class, as everywhere. `encode` returns L2-normalised
    features (images, width); only herding calls it, once with all candidates. `advance(done,
    total)` is called at every choice that herding makes.
    """
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(candidates):
        by_class[entry.class_name.lower()].append(index)
    quota = exemplar_quota(count, len(by_class))
    herding = choice is ExemplarChoice.HERDING
    features = encode(candidates) if herding and candidates else torch.empty(0)
    chosen: list[ManifestEntry] = []
    for name, rows in sorted(by_class.items()):
        if herding:
            kept = herd(features[rows], quota, partial(advance, len(candidates), len(candidates)))
        else:
            generator = generator_of("exemplars of", seed, name)
            kept = torch.randperm(len(rows), generator=generator)[:quota].tolist()
        chosen += [candidates[rows[place]] for place in kept]
    return tuple(chosen)


def herd(features: Tensor, count: int, chose: Callable[[], None] = lambda: None) -> list[int]:
    """Return the rows whose running mean stays closest to the mean of all, in order of choice.

    `chose` is called at every choice.

    Source: herding as in iCaRL (Rebuffi et al., 1611.07725, algorithm 4).
    """
    rows = features.double()  # (images, width)
    target = rows.mean(dim=0)
    total = torch.zeros_like(target)
    free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    chosen: list[int] = []
    for size in range(1, min(count, len(rows)) + 1):
        distance = (target - (total + rows) / size).square().sum(dim=1)
        best = int(distance.masked_fill(~free, torch.inf).argmin())
        free[best] = False
        total += rows[best]
        chosen.append(best)
        chose()
    return chosen
