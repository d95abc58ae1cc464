"""The numbers of a study: shares of forgetting spared, intervals, recalls in folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.study.measures import (
    Embeddings,
    Measured,
    difference,
    in_folds,
    pack,
    share_kept,
    unpack,
)
from benchmarks.study.results import columns_of
from core.datasets.manifests import ManifestEntry
from core.evaluation.queries import RetrievalQuery
from core.gate.measures import Flips, paired_interval
from core.values import Digest


def hits(right: int, count: int) -> np.ndarray:
    """The first `right` of `count` images are right."""
    return np.arange(count) < right


def test_the_share_is_one_minus_the_ratio_of_the_losses() -> None:
    # before 80 of 100; fine-tuning 60 and 64 (loses 18 points), the method 77 and 78 (loses 2.5)
    measured = Measured(
        before=hits(80, 100),
        tuned=np.stack([hits(60, 100), hits(64, 100)]),
        method=np.stack([hits(77, 100), hits(78, 100)]),
    )
    found = share_kept([measured])
    assert found.tuned_loss == pytest.approx(0.18)
    assert found.method_loss == pytest.approx(0.025)
    assert found.value == pytest.approx(1 - 0.025 / 0.18)
    assert found.interval is not None
    assert found.interval.lower < found.value < found.interval.upper


def test_measures_count_alike_whatever_their_size() -> None:
    small = Measured(before=hits(10, 10), tuned=hits(5, 10)[None], method=hits(10, 10)[None])
    large = Measured(before=hits(90, 100), tuned=hits(80, 100)[None], method=hits(80, 100)[None])
    # losses of fine-tuning 0.5 and 0.1, of the method 0 and 0.1
    assert share_kept([small, large]).value == pytest.approx(1 - 0.05 / 0.3)


def test_the_same_answers_spare_nothing_and_no_loss_spares_all() -> None:
    before, tuned = hits(300, 400), hits(200, 400)[None]
    same = share_kept([Measured(before=before, tuned=tuned, method=tuned)])
    assert (same.value, same.interval and (same.interval.lower, same.interval.upper)) == (0, (0, 0))
    whole = share_kept([Measured(before=before, tuned=tuned, method=before[None])])
    assert (whole.value, whole.interval and whole.interval.lower) == (1, 1)


def test_the_interval_has_the_width_of_a_binomial_share() -> None:
    # Fine-tuning loses 200 images, the method 50 of those and no others: given the 200, the
    # share is 1 minus a proportion of 0.25, whose 95 % half-width is 1.96 sqrt(.25 .75 / 200).
    measured = Measured(
        before=hits(800, 1000), tuned=hits(600, 1000)[None], method=hits(750, 1000)[None]
    )
    found = share_kept([measured])
    assert found.interval is not None
    assert found.value == pytest.approx(0.75)
    assert found.interval.upper - found.interval.lower == pytest.approx(2 * 0.0600, rel=0.1)


def test_without_a_firm_loss_of_fine_tuning_there_is_no_interval() -> None:
    before = hits(80, 100)
    unchanged = Measured(before=before, tuned=hits(79, 100)[None], method=before[None])
    assert share_kept([unchanged]).interval is None


def test_the_interval_is_the_same_every_time() -> None:
    measured = Measured(
        before=hits(801, 1003), tuned=hits(607, 1003)[None], method=hits(773, 1003)[None]
    )
    assert share_kept([measured]) == share_kept([measured])
    assert share_kept([measured], seed=1) != share_kept([measured])


def test_seeds_that_disagree_widen_the_interval() -> None:
    def measured(first: int, second: int) -> Measured:
        return Measured(
            before=hits(800, 1000),
            tuned=np.stack([hits(600, 1000)] * 2),
            method=np.stack([hits(first, 1000), hits(second, 1000)]),
        )

    alike, apart = share_kept([measured(700, 700)]), share_kept([measured(600, 800)])
    assert alike.value == pytest.approx(apart.value)
    assert alike.interval
    assert apart.interval
    assert apart.interval.lower < alike.interval.lower - 0.1


def test_the_difference_in_ut_acc_is_paired_over_images() -> None:
    method = np.array([[1, 1, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]], dtype=bool)
    tuned = np.array([[1, 0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0, 0]], dtype=bool)
    # gained 2 and 2, lost 1 and 2, of 8 images
    found = difference(method, tuned)
    assert found.value == pytest.approx((2 - 1.5) / 8)
    assert found.interval == paired_interval(Flips(count=8, gained=2, lost=1.5), 0.025)


def test_hits_survive_packing() -> None:
    given = np.array([True, False, True, True, False, False, True, False, True])
    assert unpack(pack(given)).tolist() == given.tolist()


def test_captioned_sets_beyond_1000_images_also_have_recalls_in_folds() -> None:
    count = 1001
    rows = torch.nn.functional.normalize(torch.randn(count, 4), dim=1)
    entries = tuple(
        ManifestEntry(pixels=Digest(f"{n:064x}"), artifact=Digest("0" * 64), texts=("a tile",))
        for n in range(count)
    )
    embedded = Embeddings(images=rows, captions=rows)
    found = in_folds(embedded, RetrievalQuery(entries=entries))
    assert found["folds_1k/image_to_text/1"] == found["folds_1k/text_to_image/10"] == 1
    fewer = RetrievalQuery(entries=entries[:-1])
    assert in_folds(Embeddings(images=rows[:-1], captions=rows[:-1]), fewer) == {}
    shown = columns_of((), retrieval=True, sessions=1, folds=True)
    assert set(found) >= {c.score for group in shown.values() for c in group if "fold" in c.score}
