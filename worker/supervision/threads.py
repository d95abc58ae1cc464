"""Watch a supervisor's child, and send webhooks beside it."""

import logging
import time
from collections.abc import Sequence
from enum import StrEnum
from threading import Event, Semaphore, Thread

from core.errors import Unavailable
from core.jobs.rules import HeldJob, JobStatus
from core.outbox.rules import WebhookClient
from core.platform import Platform
from core.values import JobId
from core.webhooks.deliver import ClaimedDelivery, claim_delivery, send_claimed

log = logging.getLogger(__name__)


# When a child must be stopped.


class Action(StrEnum):
    """The actions on a child."""

    LEAVE = "leave"
    TERMINATE = "terminate"
    KILL = "kill"


class Watchdog:
    """Detects a child that hangs: one that renews no lease, or ignores a cancellation."""

    def __init__(self, *, grace_s: float, margin_s: float) -> None:
        """Set the limits, in seconds.

        A cancelled job has `grace_s` to stop, and again after SIGTERM. A lease with less than
        `margin_s` left counts as lost, so that a hung child is gone before another worker can claim
        its job.
        """
        self._grace_s = grace_s
        self._margin_s = margin_s
        self._cancelling_since: dict[JobId, float] = {}

    def remedy(self, held: Sequence[HeldJob], now: float) -> Action:
        """Return what to do about a child that holds these jobs; `now` is from a steady clock."""
        self._cancelling_since = {
            job.id: self._cancelling_since.get(job.id, now)
            for job in held
            if job.status is JobStatus.CANCELLING
        }
        if any(job.lease_s < self._margin_s for job in held):
            return Action.KILL
        waited = max((now - since for since in self._cancelling_since.values()), default=0.0)
        if waited >= 2 * self._grace_s:
            return Action.KILL
        return Action.TERMINATE if waited >= self._grace_s else Action.LEAVE


# The sender of webhooks: claims due deliveries, and sends a bounded number of them at once.

AT_ONCE = 16  # each to another webhook, so that a slow receiver keeps one of them
POLL_S = 1.0


class WebhookSender:
    """Sends in threads of its own until stopped; what was not recorded is sent again later."""

    def __init__(
        self,
        platform: Platform,
        client: WebhookClient,
        *,
        at_once: int = AT_ONCE,
        poll_s: float = POLL_S,
    ) -> None:
        self._platform = platform
        self._client = client
        self._at_once = at_once
        self._poll_s = poll_s
        self._free = Semaphore(at_once)
        self._wake = Event()
        self._stopping = False
        # Daemons: the end of the process does not wait for a receiver.
        self._thread = Thread(target=self._run, name="webhook-sender", daemon=True)

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def stop(self) -> None:
        """Make the sender claim no more; may be called from a signal handler."""
        self._stopping = True
        self._wake.set()

    def join(self, wait_s: float) -> None:
        """Wait until the attempts under way are recorded, for at most `wait_s` seconds."""
        deadline = time.monotonic() + wait_s
        self._thread.join(wait_s)
        for _ in range(self._at_once):
            self._free.acquire(timeout=max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._send_due()
            except Unavailable as fault:
                log.warning("cannot claim webhook deliveries: %s", fault.message)
            except Exception:  # nothing may end this thread but `stop`
                log.exception("cannot claim webhook deliveries: an unexpected error")
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def _send_due(self) -> None:
        while not self._stopping and self._free.acquire(blocking=False):
            begun = False
            try:
                begun = self._begin()
            finally:
                if not begun:
                    self._free.release()
            if not begun:
                return

    def _begin(self) -> bool:
        """Claim a delivery and begin to send it; return whether there was one."""
        claimed = claim_delivery(self._platform)
        if claimed is None:
            return False
        Thread(target=self._send, args=(claimed,), name="webhook", daemon=True).start()
        return True

    def _send(self, claimed: ClaimedDelivery) -> None:
        try:
            send_claimed(self._platform, self._client, claimed)
        except Unavailable as fault:
            log.warning("webhook attempt not recorded: %s", fault.message)
        except Exception:
            log.exception("webhook attempt not recorded: an unexpected error")
        finally:
            self._free.release()
            self._wake.set()
