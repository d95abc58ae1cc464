"""Pages of webhooks and their deliveries."""

import re

import pytest

from core.outbox.rows import Outbox
from core.outbox.rules import Outcome
from core.webhooks.deliver import claim_delivery
from tests.support.api.browsing import Browser
from tests.support.api.service import Service

URL = "https://93.184.216.34/told"  # an address, so that no name has to be looked up

SECRET = re.compile(r"<code>(whsec_[\w+/=]+)</code>")

HERE = re.compile(r"/ui/webhooks/hook_\w+")


@pytest.fixture(scope="module")
def here(admin: Browser) -> str:
    """The address of a webhook; that its secret is shown once is asserted here."""
    form = {"url": URL, "job.failed": "yes", "alias.moved": "yes", "models": "demo"}
    made = admin.send("/ui/webhooks", **form, description="build <b>server</b>")
    found, secret = HERE.search(made.text), SECRET.search(made.text)
    assert found
    assert secret
    later = admin.get(found[0]).text
    assert "whsec_" not in later
    assert "alias.moved" in later
    assert "<b>server" not in later
    assert "job.succeeded" not in later
    return found[0]


def test_a_delivery_is_tested_logged_and_repeated(
    shared_service: Service, admin: Browser, here: str
) -> None:
    assert "Nothing has been sent yet" in admin.get(here).text
    assert admin.send(f"{here}/test").headers["location"] == here
    claimed = claim_delivery(shared_service.platform)
    with shared_service.platform.transactions() as work:
        refusal = {"code": "receiver_refused", "message": "The receiver responded with <i>500</i>."}
        outcome = Outcome(response_status=500, error=refusal)
        assert work[Outbox].settle(
            claimed.delivery.after(outcome, shared_service.platform.clock(), draw=0)
        )
        work.commit()
    text = admin.get(here).text
    assert "webhook.test" in text
    assert "&lt;i&gt;500" in text
    again = re.search(rf'action="({here}/deliveries/\w+/redeliver)"', text)
    assert again
    assert admin.send(again[1]).headers["location"] == here
    assert "The receiver responded" in admin.get(here).text
    assert '<td class="n">0</td>' in admin.get(here).text


def test_a_webhook_is_paused_rotated_and_deleted(admin: Browser, here: str) -> None:
    assert admin.send(f"{here}/pause").status_code == 303
    assert "paused" in admin.get(here).text
    assert admin.send(f"{here}/resume").status_code == 303
    assert "paused" not in admin.get(here).text
    assert SECRET.search(admin.send(f"{here}/rotate").text)
    assert "previous secret also signs" in admin.get(here).text
    gone = admin.send(f"{here}/delete").headers
    assert gone["location"] == "/ui/webhooks"
    told = admin.get("/ui/webhooks", cookie=gone["set-cookie"].split(";")[0]).text
    assert "The webhook was deleted." in told
    assert admin.get(here).status_code == 404
    assert "No webhooks yet" in admin.get("/ui/webhooks").text
