"""A flag that is raised by a signal handler, at whichever moment that interrupts a wait."""

import itertools
import sys
from threading import Thread
from types import FrameType
from typing import Any

from tests.support.processes import EXIT_S
from worker.signalled import Signalled


def test_a_wait_ends_by_a_flag_that_is_raised_at_any_moment_of_it() -> None:
    """A trace function comes between any two operations, as a signal handler does."""
    reached = list[bool]()

    def interrupted(moment: int) -> bool:
        """Raise the flag at the nth operation of a wait; whether the wait had so many."""
        flag, left = Signalled(), moment

        def trace(frame: FrameType, *_: Any) -> Any:
            nonlocal left
            frame.f_trace_opcodes = True
            left -= 1
            if left == 0:
                flag.set()
            return trace

        sys.settrace(trace)
        try:
            flag.wait(0.001)
        finally:
            sys.settrace(None)
        assert flag.is_set() == (left <= 0)
        return flag.is_set()

    def each_moment() -> None:
        reached.extend(itertools.takewhile(bool, map(interrupted, itertools.count(1))))
        reached.append(False)

    waiting = Thread(target=each_moment, daemon=True)
    waiting.start()
    waiting.join(EXIT_S)
    assert not waiting.is_alive(), f"it hangs at operation {len(reached)}"
    assert len(reached) > 10
