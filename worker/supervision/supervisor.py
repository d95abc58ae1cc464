"""The parent process: keeps one worker child alive, stops what hangs, rings for waiting jobs.

It never loads torch, so nothing that a device or a model does can stop it.
"""

import logging
import secrets
import time
from collections.abc import Callable
from threading import Event

from core.errors import Unavailable
from core.ports import JobNotifier, Platform
from core.use_cases.operations.maintenance import (
    end_cancelled_jobs,
    forget_old_traces,
    notify_waiting_jobs,
)
from worker.supervision.backoff import BackOff
from worker.supervision.child import Child
from worker.supervision.heartbeat import facts_of
from worker.supervision.watchdog import Remedy, Watchdog

log = logging.getLogger(__name__)

TICK_S = 0.2
HEALTHY_AFTER_S = 30.0  # a child that lived this long did not fail at its start
FORGET_EVERY_S = 600.0


class Supervisor:
    """Watches over one child after another; `name` is `<host>:<id>`, fresh at each start."""

    def __init__(
        self, platform: Platform, notifier: JobNotifier, start: Callable[[str], Child], *, name: str
    ) -> None:
        settings = platform.settings
        self._platform = platform
        self._doorbell = notifier
        self._start = start
        self._name = name
        self._stopping = Event()
        self._child: Child | None = None
        self._starts = 0
        self._dead_owners: list[str] = []
        self._watchdog = Watchdog(
            grace_s=settings.grace_seconds, margin_s=min(2.0, settings.lease_seconds / 4)
        )
        self._restart = BackOff(0.5, 30.0)
        self._ring = BackOff(settings.sweep_seconds, 8 * settings.sweep_seconds)
        self._start_at = self._ring_at = self._beat_at = self._end_at = self._forget_at = 0.0

    def stop(self) -> None:
        """Have `run` end soon; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Supervise until told to stop, then stop the child: gently, and at last by force."""
        try:
            while not self._stopping.is_set():
                self.tick(time.monotonic())
                self._stopping.wait(TICK_S)
        finally:
            self._shut_down()

    def tick(self, now: float) -> None:
        """Do what is due; a database that is away is waited for."""
        self._bury()
        try:
            self._release()
            self._revive(now)
            self._watch(now)
            self._sweep(now)
        except Unavailable as fault:
            log.warning("waiting: %s", fault.message)

    def _bury(self) -> None:
        """Note a child that has ended, and make sure that nothing of it is left."""
        if self._child is not None and self._child.exit_code is not None:
            self._lay_to_rest(self._child)

    def _lay_to_rest(self, child: Child) -> None:
        child.kill()
        self._child = None
        self._dead_owners.append(child.owner)
        lived_s = time.monotonic() - child.started
        if lived_s >= HEALTHY_AFTER_S:
            self._restart.reset()
        wait_s = self._restart.next()
        self._start_at = time.monotonic() + wait_s
        log.warning("the worker child ended (%s); the next starts soon", child.exit_code)

    def _release(self) -> None:
        """Let others claim the jobs of the dead without waiting for their leases to run out."""
        while self._dead_owners:
            with self._platform.transactions() as work:
                work.jobs.release_owner(self._dead_owners[0])
                work.commit()
            self._dead_owners.pop(0)

    def _revive(self, now: float) -> None:
        if self._child is None and now >= self._start_at:
            self._starts += 1
            self._child = self._start(f"{self._name}:{secrets.token_hex(4)}")
            self._ring.reset()
            self._ring_at = now

    def _watch(self, now: float) -> None:
        """Stop a child that hangs."""
        if self._child is None:
            return
        with self._platform.transactions(read_only=True) as work:
            held = work.jobs.held(self._child.owner)
        match self._watchdog.remedy(held, now):
            case Remedy.TERMINATE:
                self._child.terminate()
            case Remedy.KILL:
                log.warning("the worker child hangs with %s", ", ".join(job.id for job in held))
                self._lay_to_rest(self._child)
            case Remedy.LEAVE:
                pass

    def _sweep(self, now: float) -> None:
        if now >= self._end_at:
            end_cancelled_jobs(self._platform)
            self._end_at = now + self._platform.settings.sweep_seconds
        if now >= self._ring_at:
            waiting = notify_waiting_jobs(self._platform, self._doorbell)
            if not waiting:
                self._ring.reset()
            self._ring_at = now + self._ring.next()
        if now >= self._beat_at and self._child is not None:
            self._beat(self._child)
            self._beat_at = now + self._platform.settings.sweep_seconds
        if now >= self._forget_at:
            forget_old_traces(self._platform)
            self._forget_at = now + FORGET_EVERY_S

    def _beat(self, child: Child) -> None:
        with self._platform.transactions() as work:
            facts = facts_of(
                device=self._platform.settings.device,
                queues=self._platform.settings.queues,
                child=child.pid,
                starts=self._starts,
                held=work.jobs.held(child.owner),
            )
            work.heartbeats.beat(self._name, facts)
            work.commit()

    def _shut_down(self) -> None:
        if self._child is not None:
            self._child.stop(self._platform.settings.grace_seconds)
            self._dead_owners.append(self._child.owner)
        try:
            self._release()
            with self._platform.transactions() as work:
                work.heartbeats.forget(self._name)
                work.commit()
        except Unavailable as fault:
            log.warning("ended without a word to the database: %s", fault.message)
