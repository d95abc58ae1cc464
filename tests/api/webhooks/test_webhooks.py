"""Webhooks over HTTP: secrets are shown once, URLs checked, deliveries listed and repeated."""

from pathlib import Path
from typing import Any

import pytest

from core.bootstrap import webhook_client
from core.outbox.rules import MOST_WEBHOOKS
from core.settings import Settings
from core.webhooks.deliver import claim_delivery, send_claimed
from tests.support.api.seeds import a_root
from tests.support.api.service import Service, code_of, running, settings_of
from tests.support.servers.receiver import Receiver
from tests.support.webhooks import subscribed


@pytest.fixture
def settings(home: Path) -> Settings:
    return settings_of(home, webhook_private=True)


def make(service: Service, url: str = "https://127.0.0.1/told", **changes: Any) -> dict[str, Any]:
    body = {"url": url, "events": ["alias.moved", "dataset.frozen"]} | changes
    answer = service.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/webhooks/{made['id']}"
    return made


def send(service: Service) -> None:
    """Send a due delivery, as the supervisor does."""
    claimed = claim_delivery(service.platform)
    send_claimed(service.platform, webhook_client(service.settings), claimed)


def test_a_secret_is_shown_when_it_is_made_and_never_again(service: Service) -> None:
    made = make(service, description="build server")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert made["events"] == ["alias.moved", "dataset.frozen"]
    path = f"/v1/webhooks/{made['id']}"
    assert service.client.get(path).json() == made
    assert service.client.get("/v1/webhooks").json()["data"] == [made]
    changed = service.client.patch(path, json={"paused": True})
    assert changed.json() == made | {"paused": True}
    rotated = service.client.post(f"{path}/rotate-secret").json()
    assert rotated["secret"] not in {"", secret}
    assert rotated["former_secret_until"] is not None
    for answer in (service.client.get(path), service.client.get("/v1/webhooks"), changed):
        assert "whsec_" not in answer.text


def test_a_refusal_is_in_the_log_of_deliveries_and_can_be_repeated(
    service: Service, receiver: Receiver
) -> None:
    receiver.statuses = [500]
    made = make(service)
    path = f"/v1/webhooks/{made['id']}"
    ordered = service.client.post(f"{path}/test")
    assert ordered.status_code == 202
    service.client.patch(path, json={"url": receiver.url})  # what is pending goes there
    send(service)
    (refused,) = service.client.get(f"{path}/deliveries").json()["data"]
    assert (refused["status"], refused["response_status"]) == ("pending", 500)
    assert refused["error"]["code"] == "receiver_refused"
    assert refused["next_attempt_at"] > refused["attempted_at"]
    assert claim_delivery(service.platform) is None
    again = service.client.post(f"{path}/deliveries/{refused['id']}/redeliver")
    assert (again.status_code, again.json()["attempts"]) == (202, 0)
    send(service)
    assert receiver.events == [ordered.json()["event"]] * 2
    receiver.received[0].verify(made["secret"])
    assert receiver.received[0].payload["type"] == "webhook.test"
    (done,) = service.client.get(f"{path}/deliveries").json()["data"]
    assert (done["status"], done["attempts"], done["response_status"]) == ("delivered", 1, 204)
    assert done["next_attempt_at"] is None


def test_a_webhook_can_be_limited_to_models(service: Service) -> None:
    model = a_root(service.platform)
    path = f"/v1/webhooks/{make(service, events=['alias.moved'], models=['demo'])['id']}"
    assert service.client.get(path).json()["models"] == [model.id]
    assert service.client.patch(path, json={"description": "x"}).json()["models"] == [model.id]
    assert service.client.patch(path, json={"models": None}).json()["models"] is None
    for body in ({"models": ["nobody"]}, {"events": ["dataset.frozen"], "models": ["demo"]}):
        answer = service.client.patch(path, json=body)
        assert code_of(answer) in {(404, "model_not_found"), (422, "field_invalid")}
    assert service.client.get(path).json()["events"] == ["alias.moved"]


def test_a_deleted_webhook_is_gone_with_its_deliveries(service: Service) -> None:
    path = f"/v1/webhooks/{make(service)['id']}"
    service.client.post(f"{path}/test")
    assert service.client.delete(path).status_code == 204
    assert claim_delivery(service.platform) is None
    for answer in (
        service.client.get(path),
        service.client.delete(path),
        service.client.patch(path, json={"paused": True}),
        service.client.post(f"{path}/test"),
        service.client.post(f"{path}/rotate-secret"),
        service.client.get(f"{path}/deliveries"),
        service.client.post(f"{path}/deliveries/dlv_1/redeliver"),
    ):
        assert code_of(answer) == (404, "webhook_not_found")


def test_there_may_be_so_many(service: Service) -> None:
    for _ in range(MOST_WEBHOOKS):
        subscribed(service.platform.transactions)
    with service.untouched():
        body = {"url": "https://127.0.0.1/", "events": ["job.failed"]}
        answer = service.client.post("/v1/webhooks", json=body)
    assert code_of(answer) == (409, "too_many_webhooks")


def test_every_change_is_an_audit_event_without_secrets(
    service: Service, receiver: Receiver
) -> None:
    made = make(service, receiver.url)
    path = f"/v1/webhooks/{made['id']}"
    for _ in range(2):  # of which the second changes nothing
        assert service.client.patch(path, json={"paused": True}).json()["paused"] is True
    service.client.post(f"{path}/rotate-secret")
    delivery = service.client.post(f"{path}/test").json()["id"]
    service.client.post(f"{path}/deliveries/{delivery}/redeliver")
    service.client.delete(path)
    query = {"subject": f"webhooks/{made['id']}"}
    answer = service.client.get("/v1/audit-events", params=query)
    events = answer.json()["data"][::-1]
    assert [one["action"].removeprefix("webhook.") for one in events] == [
        "created",
        "changed",
        "rotated",
        "tested",
        "redelivered",
        "deleted",
    ]
    created, changed, *_, deleted = events
    assert created["to"]["events"] == ["alias.moved", "dataset.frozen"]
    assert (changed["from"]["paused"], changed["to"]["paused"]) == (False, True)
    assert deleted["from"] == changed["to"]
    assert created["to"]["host"] in receiver.url
    assert "whsec_" not in answer.text
    assert "/told" not in answer.text


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"url": "https://169.254.169.254/latest/meta-data"}, "url_forbidden"),
    ({"url": "https://no-such-host.invalid/"}, "url_forbidden"),
    ({"url": ""}, "field_invalid"),
    ({"events": []}, "field_invalid"),
    ({"events": ["webhook.test"]}, "field_invalid"),
    ({"models": []}, "field_invalid"),
    ({"secret": "whsec_bWluZQ=="}, "field_unknown"),
)


def test_what_cannot_be_sent_is_refused_at_once_and_when_it_is_changed(home: Path) -> None:
    with running(settings_of(home)) as service:
        path = f"/v1/webhooks/{make(service, 'https://93.184.215.14/')['id']}"
        with service.untouched():
            for body, code in REFUSED:
                given = {"url": "https://93.184.215.14/", "events": ["job.failed"]}
                answer = service.client.post("/v1/webhooks", json=given | body)
                assert code_of(answer) == (422, code), body
            answer = service.client.patch(path, json={"url": "https://10.0.0.1/"})
            assert code_of(answer) == (422, "url_forbidden")
