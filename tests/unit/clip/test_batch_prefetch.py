"""Batches made ahead: the same ones, in order, and nothing left behind."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor

from core.clip.machine import Prefetcher
from core.errors import ArtifactMissing, CancelRequested


def numbered(step: int) -> Tensor:
    return torch.tensor([step])


def threads_of_ahead() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize(("first", "last", "depth"), [(0, 5, 2), (3, 5, 2), (0, 5, 9), (4, 4, 2)])
def test_every_step_gets_its_batch_in_order(first: int, last: int, depth: int) -> None:
    with Prefetcher(numbered, first, last, depth=depth) as ahead:
        assert [int(ahead.take()) for _ in range(first, last)] == list(range(first, last))
        with pytest.raises(IndexError):
            ahead.take()
    assert not threads_of_ahead()


def test_batches_are_made_before_they_are_asked_for() -> None:
    made = threading.Semaphore(0)

    def make(step: int) -> Tensor:
        made.release()
        return numbered(step)

    with Prefetcher(make, 0, 9, depth=2) as ahead:
        assert made.acquire(timeout=10)
        assert made.acquire(timeout=10)
        assert not made.acquire(timeout=0.05)  # and no further: memory is bounded
        ahead.take()
        assert made.acquire(timeout=10)


def test_an_error_is_raised_where_its_batch_is_taken() -> None:
    def make(step: int) -> Tensor:
        if step == 1:
            raise ArtifactMissing(digest="gone")
        return numbered(step)

    def run() -> None:
        with Prefetcher(make, 0, 9) as ahead:
            assert int(ahead.take()) == 0
            ahead.take()

    with pytest.raises(ArtifactMissing):
        run()
    assert not threads_of_ahead()


@pytest.mark.parametrize("stop", [CancelRequested, KeyboardInterrupt])
def test_an_interrupted_run_leaves_no_thread(stop: type[BaseException]) -> None:
    made = []

    def make(step: int) -> Tensor:
        time.sleep(0.01)
        made.append(step)
        return numbered(step)

    def run() -> None:
        with Prefetcher(make, 0, 1000, depth=500) as ahead:
            ahead.take()
            raise stop

    with pytest.raises(stop):
        run()
    assert not threads_of_ahead()
    assert len(made) < 50  # what was being made, not what was ordered
