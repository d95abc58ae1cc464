"""The intervals of `make bench-captions`."""

from __future__ import annotations

import numpy as np

from benchmarks.captions import interval, joined, row_of
from benchmarks.output import entry_of
from core.evaluation.queries import RetrievalQuery
from core.values import sha256


def asked(*captions: str) -> RetrievalQuery:
    digests = [sha256(str(number).encode()) for number in range(len(captions))]
    return RetrievalQuery(
        entries=tuple(entry_of(one, one, text) for one, text in zip(digests, captions, strict=True))
    )


def test_images_that_share_a_caption_are_drawn_together() -> None:
    """Forty answers of which ten were gained: by forty captions, or by four of ten images each."""
    change = np.repeat([[1.0, 0.0, 0.0, 0.0]], 10, axis=1)
    apart = interval(asked(*(f"caption {n}" for n in range(40))), change)
    together = interval(asked(*(f"caption {n // 10}" for n in range(40))), change)
    assert 0 < apart[0] < 0.25 < apart[1] < together[1]
    assert together == (0.0, 0.75)


def test_a_row_has_the_mean_of_all_seeds_and_what_each_has() -> None:
    before, after = np.zeros((1, 4)), np.array([[1.0, 0, 0, 0], [1, 1, 0, 0]])
    row = row_of(asked("a", "b", "c", "d"), "image to text", before, after)
    assert (row["before"], row["after"], row["change"]) == (0, 37.5, 37.5)
    assert row["by seed"] == "25.0, 50.0"


def test_answers_about_several_sets_are_those_about_one() -> None:
    each = [{("", "top-1"): np.array([1.0])}, {("", "top-1"): np.array([0.0, 1.0])}]
    assert joined(each, "both")["both", "top-1"].tolist() == [1, 0, 1]
