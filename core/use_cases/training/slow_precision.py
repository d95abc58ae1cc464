"""Warn of a precision that the worker's device has no instructions for."""

from collections.abc import Collection

from core.domain.jobs.event import EventKind
from core.domain.recipes.choices import Precision
from core.ports import Monitor


def warn_if_slow(precision: Precision, native: Collection[Precision], monitor: Monitor) -> None:
    """Add an event if a precision is not `native` to the device. Raises LeaseLost."""
    if precision in native:
        return
    monitor.emit(
        EventKind.SLOW_PRECISION,
        {
            "precision": precision,
            "explanation": (
                f"This worker's device has no {precision} instructions, so each step may take ten "
                "times as long as in fp32. Use precision 'auto' or 'fp32' to avoid this."
            ),
        },
    )
