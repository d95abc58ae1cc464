"""A job keeps its lease while a library computes, and loses it if the library hangs."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from core.errors import CancelRequested
from core.exporting.exporter import while_computing


class Counted:
    """A monitor that counts what it is told, and lets a calculation end after some of it."""

    def __init__(self, enough: int, error: Exception | None = None) -> None:
        self.told = 0
        self.enough = threading.Event()
        self._wanted = enough
        self._error = error

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
