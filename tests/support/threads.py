"""Threads that wait for the event loop, and so show that it goes on."""

import asyncio
import threading

WAIT_S = 30.0  # longer than anything here takes


class Gate:
    """A place in a thread that only a coroutine of the event loop opens."""

    def __init__(self) -> None:
        self.was_opened = False
        self._loop = asyncio.get_running_loop()
        self._reached = asyncio.Event()
        self._open = threading.Event()
        self._loop_thread = threading.current_thread()

    def pass_through(self) -> None:
        """Wait until the gate is opened; on the event loop itself it cannot be, so go on."""
        self._loop.call_soon_threadsafe(self._reached.set)
        if threading.current_thread() is not self._loop_thread:
            self.was_opened = self._open.wait(WAIT_S)

    async def open(self) -> None:
        """Open the gate once a thread waits at it."""
        await self._reached.wait()
        self._open.set()
