"""The sender of webhooks: claims due deliveries and sends a bounded number of them at once."""

import logging
import time
from threading import Event, Semaphore, Thread

from core.errors import Unavailable
from core.ports import Platform, WebhookClient
from core.use_cases.webhooks.deliver import ClaimedDelivery, claim_delivery, send_claimed

log = logging.getLogger(__name__)

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
