"""The supervisor: keeps a worker child running, stops it if it hangs, notifies of waiting jobs.

With one job alone to run, it ends with the child that has run it. It never loads torch, so no
failure of a device or a model can stop it.
"""

import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Self

from core.errors import Unavailable
from core.fleet.rows import Heartbeats
from core.jobs.rows import Jobs
from core.jobs.rules import HeldJob, JobNotifier
from core.operations.maintenance import delete_expired, end_cancelled_jobs, notify_waiting_jobs
from core.platform import Platform
from core.registry.exports import available_formats
from core.values import JobId, Json
from worker.signalled import Signalled
from worker.supervision.threads import Action, Watchdog

log = logging.getLogger(__name__)

TICK_S = 0.2
ERROR_PAUSE_S = 1.0
HEALTHY_AFTER_S = 30.0  # a child that ran this long did not fail at its start
DELETE_EVERY_S = 600.0
MOST_STARTS = 3  # of children for one job, before the pod is given up


class BackOff:
    """Waits that double from `first_s` up to `longest_s`, until `reset`."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._wait_s = first_s

    def next(self) -> float:
        """Return how many seconds to wait this time."""
        wait_s = self._wait_s
        self._wait_s = min(2 * wait_s, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Make the next wait the first one again."""
        self._wait_s = self._first_s


class Child:
    """A started child in its own process group, so that a signal to our group does not reach it."""

    def __init__(self, owner: str, process: "subprocess.Popen[bytes]") -> None:
        self.owner = owner  # under which this run claims jobs
        self.started = time.monotonic()
        self._process = process
        self._said = b""

    @classmethod
    def start(cls, owner: str, *, job: JobId | None = None) -> Self:
        """Start the Celery worker, or one that runs a job alone; it ends when this process does."""
        command = [sys.executable, "-m", "worker", "--owner", owner, "--parent", str(os.getpid())]
        if job is not None:
            command += ["--job", job]
        # Waiting threads must not spin: on shared cores they slow the thread that they wait for.
        environment = {"GOMP_SPINCOUNT": "0", **os.environ}
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            env=environment,
        )
        return cls(owner, process)

    @property
    def pid(self) -> int:
        """The process id, which is also the process group's."""
        return self._process.pid

    def facts(self) -> Json:
        """Return what the child has told of its device; nothing before it has loaded torch."""
        if (pipe := self._process.stdout) is not None and not pipe.closed:
            os.set_blocking(pipe.fileno(), False)
            if (piece := pipe.read()) is not None:  # None: there is nothing to read yet
                self._said += piece
        try:
            found: Json = json.loads(self._said)
        except ValueError:
            return {}
        return found

    @property
    def exit_code(self) -> int | None:
        """The exit code: None while the child runs, negative if a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the child to stop: it saves a checkpoint, gives its job back and exits."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill the child and every process in its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def stop(self, grace_s: float) -> None:
        """Ask the child to stop, wait at most `grace_s` seconds, then kill it."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self.kill()


class Supervisor:
    """Runs one child after another; `name` is `<host>:<id>`, new at each start.

    Without a notifier, its children run one job: it ends once that has ended or three children
    have failed, and leaves to other supervisors what is done for the service.
    """

    def __init__(
        self,
        platform: Platform,
        notifier: JobNotifier | None,
        start: Callable[[str], Child],
        *,
        name: str,
    ) -> None:
        settings = platform.settings
        self._platform = platform
        self._notifier = notifier
        self._start = start
        self._name = name
        self.job_ended = False  # with one job alone to run
        self._stopping = Signalled()
        self._child: Child | None = None
        self._starts = 0
        self._ended_owners: list[str] = []
        self._watchdog = Watchdog(
            grace_s=settings.grace_seconds, margin_s=min(2.0, settings.lease_seconds / 4)
        )
        self._restart_backoff = BackOff(0.5, 30.0)
        self._notify_backoff = BackOff(settings.sweep_seconds, 8 * settings.sweep_seconds)
        self._start_at = self._notify_at = self._heartbeat_at = 0.0
        self._end_cancelled_at = self._delete_at = 0.0

    def stop(self) -> None:
        """Make `run` end soon; may be called from a signal handler or another thread."""
        self._stopping.set()

    def run(self) -> None:
        """Supervise until asked to stop, then stop the child, by force after the grace period."""
        try:
            while not self._stopping.is_set():
                self.tick(time.monotonic())
                self._stopping.wait(TICK_S)
        finally:
            self._shut_down()

    def tick(self, now: float) -> None:
        """Do what is due at `now`; what fails is tried again at the next tick.

        No error may end the supervisor, since its child, which may be in the middle of a job, would
        end with it. Nor may one keep it from anything else, as long as there is a database.
        """
        steps: list[Callable[[], None]] = [
            self._reap,
            self._release,
            partial(self._start_child, now),
            partial(self._stop_hanging_child, now),
            partial(self._send_heartbeat, now),
        ]
        if self._notifier is not None:
            steps += [
                partial(self._end_cancelled_jobs, now),
                partial(self._notify, now, self._notifier),
                partial(self._delete_expired, now),
            ]
        for step in steps:
            try:
                step()
            except Unavailable as fault:
                log.warning("waiting: %s", fault.message)
                return
            except Exception:
                log.exception("the supervisor failed unexpectedly and tries again")
                self._stopping.wait(ERROR_PAUSE_S)

    def _reap(self) -> None:
        """Record the end of a child that has exited, and kill what is left of its group."""
        if self._child is None or (code := self._child.exit_code) is None:
            return
        self._end_child(self._child)
        if self._notifier is None and (code == 0 or self._starts >= MOST_STARTS):
            self.job_ended = code == 0
            self.stop()

    def _end_child(self, child: Child) -> None:
        child.kill()
        self._child = None
        self._ended_owners.append(child.owner)
        ran_s = time.monotonic() - child.started
        if ran_s >= HEALTHY_AFTER_S:
            self._restart_backoff.reset()
        wait_s = self._restart_backoff.next()
        self._start_at = time.monotonic() + wait_s
        log.warning("the worker child exited (%s)", child.exit_code)

    def _release(self) -> None:
        """Release the jobs of ended children, which others may claim before the leases expire."""
        while self._ended_owners:
            with self._platform.transactions() as work:
                work[Jobs].release_owner(self._ended_owners[0])
                work.commit()
            self._ended_owners.pop(0)

    def _start_child(self, now: float) -> None:
        if self._child is None and now >= self._start_at and not self._stopping.is_set():
            self._starts += 1
            self._child = self._start(f"{self._name}:{secrets.token_hex(4)}")
            self._notify_backoff.reset()
            self._notify_at = now

    def _stop_hanging_child(self, now: float) -> None:
        if self._child is None:
            return
        with self._platform.transactions(read_only=True) as work:
            held = work[Jobs].held(self._child.owner)
        match self._watchdog.remedy(held, now):
            case Action.TERMINATE:
                self._child.terminate()
            case Action.KILL:
                log.warning("the worker child is stuck in %s", ", ".join(job.id for job in held))
                self._end_child(self._child)
            case Action.LEAVE:
                pass

    def _end_cancelled_jobs(self, now: float) -> None:
        if now >= self._end_cancelled_at:
            end_cancelled_jobs(self._platform)
            self._end_cancelled_at = now + self._platform.settings.sweep_seconds

    def _notify(self, now: float, notifier: JobNotifier) -> None:
        if now >= self._notify_at:
            waiting = notify_waiting_jobs(self._platform, notifier)
            if not waiting:
                self._notify_backoff.reset()
            self._notify_at = now + self._notify_backoff.next()

    def _send_heartbeat(self, now: float) -> None:
        if now < self._heartbeat_at or self._child is None:
            return
        with self._platform.transactions() as work:
            facts = facts_of(
                told=self._child.facts(),
                queues=self._platform.settings.queues,
                child=self._child.pid,
                starts=self._starts,
                held=work[Jobs].held(self._child.owner),
            )
            work[Heartbeats].record(self._name, facts)
            work.commit()
        self._heartbeat_at = now + self._platform.settings.sweep_seconds

    def _delete_expired(self, now: float) -> None:
        if now >= self._delete_at:
            delete_expired(self._platform)
            self._delete_at = now + DELETE_EVERY_S

    def _shut_down(self) -> None:
        if self._child is not None:
            self._child.stop(self._platform.settings.grace_seconds)
            self._ended_owners.append(self._child.owner)
        try:
            self._release()
            with self._platform.transactions() as work:
                work[Heartbeats].forget(self._name)
                work.commit()
        except Unavailable as fault:
            log.warning("exited without reaching the database: %s", fault.message)


# The facts of a heartbeat.


def facts_of(
    *, told: Json, queues: Sequence[str], child: int, starts: int, held: Sequence[HeldJob]
) -> Json:
    """Return the facts of a supervisor and its child, whose process id is `child`.

    `told` is what the child itself has told, its device.
    """
    return {
        **told,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "child": child,
        "starts": starts,
        "state": "busy" if held else "idle",
        "job": held[0].id if held else None,
        "queues": list(queues),
        "formats": available_formats(),
        "version": version("perennial"),
        "memory_bytes": resident_bytes(child),
    }


def resident_bytes(pid: int) -> int | None:
    """Return the bytes of memory that a process holds, or None if that is unknown."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGESIZE")
