"""What a person meets in a browser when something comes between: a cut, an end, somebody else."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

from playwright.sync_api import Page, expect

from core.access.keys import create_key, revoke_key
from core.jobs.orders import EvaluateOrder
from core.jobs.rows import Jobs
from core.jobs.rules import EventKind
from core.principal import Role
from core.registry.rows import Models
from tests.api.browser.conftest import LATE_MS, follow
from tests.support.api.service import KEY
from tests.support.factories import NOW
from tests.support.processes import wait_for
from tests.support.scene import Scene

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Relay(ThreadingTCPServer):
    """Passes bytes on in both directions, between a port of its own and a server."""

    def __init__(self, to: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.to = to
        self.ends: set[socket.socket] = set()
        self.is_cut = False
        self.refused = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def cut(self) -> None:
        """Cut all connections, and answer those to come as a proxy does without its server."""
        self.is_cut = True
        for end in [*self.ends]:
            _shut(end)

    def mend(self) -> None:
        """Pass connections on again."""
        self.is_cut = False


class _Connection(BaseRequestHandler):
    server: Relay
    request: Any

    def handle(self) -> None:
        """Pass on what comes from either end, until one of them closes."""
        near: socket.socket = self.request
        if self.server.is_cut:
            near.recv(65_536)
            near.sendall(UNAVAILABLE)
            self.server.refused += 1
            return
        with socket.create_connection(self.server.to) as far:
            self.server.ends |= {near, far}
            back = Thread(target=_pass_on, args=(far, near))
            back.start()
            _pass_on(near, far)
            back.join()
            self.server.ends -= {near, far}


def _pass_on(start: socket.socket, end: socket.socket) -> None:
    with suppress(OSError):
        while data := start.recv(65_536):
            end.sendall(data)
    _shut(start)
    _shut(end)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay_before(url: str) -> Iterator[Relay]:
    """Relay what is sent to a server within the context."""
    host, _, port = url.removeprefix("http://").partition(":")
    with Relay((host, int(port))) as relay:
        thread = Thread(target=relay.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            relay.cut()
            thread.join()


PROMOTION = "/ui/models/line/aliases/production/promotion?version=2"

SCRIPT = "<script>alert(1)</script>"

# Keeps the ids of all events that the page's stream delivers to it.
NOTE_EVENTS = """
    window.noted = [];
    const listen = EventSource.prototype.addEventListener;
    EventSource.prototype.addEventListener = function (kind, then) {
        listen.call(this, kind, ({ lastEventId }) => { if (lastEventId) noted.push(lastEventId); });
        listen.call(this, kind, then);
    };
"""


def test_live_progress_goes_on_after_a_lost_connection(page: Page, site: tuple[str, Scene]) -> None:
    url, line = site
    with line.platform.transactions(read_only=True) as work:
        model = work[Models].get("line")
    job = line.order(model, EvaluateOrder(version=2))

    def report(*steps: int) -> None:
        with line.platform.transactions() as work:
            for step in steps:
                data = {"phase": "training", "step": step, "total": 40, "loss": 1 / step}
                work[Jobs].add_event(job.id, EventKind.PROGRESS, data, NOW)
            work.commit()

    page.add_init_script(NOTE_EVENTS)
    with relay_before(url) as relay:
        page.goto(f"{relay.url}/ui/jobs/{job.id}")
        page.evaluate("document.title = 'of before'")
        report(1, 2)
        expect(page.get_by_text("training, 2 of 40")).to_be_visible()
        relay.cut()
        report(3, 4)
        expect(page.get_by_text("The connection is lost; trying again.")).to_be_visible()
        wait_for(lambda: relay.refused, seconds=LATE_MS / 1000)
        relay.mend()
        report(5)
        expect(page.get_by_text("training, 5 of 40")).to_be_visible()
        expect(page.get_by_role("img", name="loss from step 1 to 5")).to_be_visible()
        expect(page.locator("#notice")).to_be_empty()
        expect(page.get_by_text("Live: queued")).to_be_visible()
        expect(page).to_have_title(re.compile("^queued, .* · Evaluate of line · Perennial$"))
        assert page.evaluate("noted") == ["1", "2", "3", "4", "5"]
        follow(page, "Cancel")
        expect(page.get_by_text("cancelled").first).to_be_visible()
        expect(page).to_have_title("cancelled · Evaluate of line · Perennial")
        expect(page.get_by_role("button", name="Order again")).to_be_visible()


def test_what_was_typed_is_sent_after_a_new_sign_in(page: Page, site: tuple[str, Scene]) -> None:
    sign_in_as_guest(page, site[1], Role.ADMIN)
    page.goto(PROMOTION)
    page.get_by_role("textbox", name="Reason").fill(f"a long story\nin two lines {SCRIPT}")
    page.get_by_label("Override the gate").check()
    revoke_key(site[1].platform, "guest-admin")
    follow(page, "Promote version 2")
    expect(page.get_by_text("This page has kept what you entered")).to_be_visible()
    sign_in(page, "pk_wrong")
    expect(page.get_by_text("lets nobody in")).to_be_visible()
    sign_in(page, KEY)
    expect(page.get_by_text("so this was not sent")).to_be_visible()
    expect(page.locator("dl")).to_contain_text(f"in two lines {SCRIPT}")
    expect(page.get_by_role("button", name="Send it now")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("production is now version 2")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text(f"a long story in two lines {SCRIPT}")


def sign_in_as_guest(page: Page, line: Scene, role: Role) -> None:
    """Sign out, and in with a new key of this role."""
    _, secret = create_key(line.platform, name=f"guest-{role.value}", role=role)
    follow(page, "Sign out")
    sign_in(page, secret)
    expect(page.get_by_text(f"guest-{role.value}")).to_be_visible()


def sign_in(page: Page, secret: str) -> None:
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
