"""A job keeps its lease while a library computes or an export is compared, unless it hangs."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from core.clip.progress import while_computing
from core.errors import CancelRequested
from core.exporting.exporter import compare
from core.exporting.towers import Towers
from core.exports.exporter import Samples
from tests.support.learning.tiny_clip import tiny_clip
from tests.support.memory_artifacts import MemoryArtifacts


class Counted:
    """A monitor that counts what it is told, and lets a calculation end after some of it."""

    def __init__(self, enough: int, error: Exception | None = None) -> None:
        self.told = 0
        self.enough = threading.Event()
        self._wanted = enough
        self._error = error

    def advance(self, *_: Any) -> None: ...

    def moved(self, count: int) -> None:
        self.told += 1
        if self.told == self._wanted:
            self.enough.set()
            if self._error:
                raise self._error


def spin(until: threading.Event) -> str:
    """Take processor time until an event."""
    while not until.is_set():
        sum(range(1000))
    return "done"


def test_progress_is_reported_while_it_computes() -> None:
    monitor: Any = Counted(3)
    assert while_computing(lambda: spin(monitor.enough), monitor, look_every_s=0.02) == "done"
    assert monitor.told >= 3


def test_what_takes_no_processor_time_reports_nothing() -> None:
    monitor: Any = Counted(1)
    looked, hung = itertools.count(), threading.Event()

    def stands_still() -> float:
        if next(looked) == 5:
            hung.set()
        return 7.0

    while_computing(hung.wait, monitor, look_every_s=0.01, processor_s=stands_still)
    assert monitor.told == 0


def test_what_the_monitor_and_the_calculation_raise_is_raised() -> None:
    monitor: Any = Counted(1, CancelRequested())
    with pytest.raises(CancelRequested):
        while_computing(lambda: spin(monitor.enough), monitor, look_every_s=0.02)
    with pytest.raises(ZeroDivisionError):
        while_computing(lambda: 1 // 0, monitor)


def test_a_batch_that_takes_long_keeps_the_lease() -> None:
    clip, monitor = tiny_clip(seed=1), Counted(1)

    def images(batch: list[Image.Image]) -> Tensor:
        began = time.process_time()
        while not monitor.enough.is_set() and time.process_time() - began < 5:
            pass
        return clip.encode_images(
            torch.stack([clip.preprocess.evaluation_pixels(one) for one in batch])
        )

    towers = Towers(images=images, texts=clip.encode_texts)
    samples = Samples(images=(), texts=("a cat",))
    found = compare(MemoryArtifacts(), clip, towers, samples, monitor)  # type: ignore[arg-type]
    assert monitor.enough.is_set()
    assert min(found["least_cosine_images"], found["least_cosine_texts"]) >= 0.999999
