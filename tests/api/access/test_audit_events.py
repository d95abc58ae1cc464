"""Audit events over HTTP: each change leaves one, and they can be verified."""

from typing import Any

from sqlalchemy import delete

from core.database.tables import audit_events
from core.datasets.manifests import Side
from core.gate.rules import Verdict
from tests.support.api.image_files import pictures_on
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, Service, code_of

EVENTS = "/v1/audit-events"

PRODUCTION = "/v1/models/demo/aliases/production"


def events(service: Service, **wanted: str) -> list[dict[str, Any]]:
    """The events that a filter lets through, oldest first."""
    answer = service.client.get(EVENTS, params={"limit": "200", **wanted})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][::-1]


def test_every_change_leaves_an_event(service: Service) -> None:
    model, client = a_root(service.platform), service.client
    a_candidate(service.platform, model, verdict=Verdict.PASSED)
    start = events(service)[-1]["sequence"]
    client.headers["X-Request-Id"] = "mine"
    files = [(text, ("a.png", pictures_on(Side.TRAIN, 9)[n])) for n, text in enumerate("aaabbb")]
    update = {"type": "update", "model": "demo", "dataset": "pets", "dataset_version": 1}
    told = (
        client.post("/v1/datasets", json={"name": "pets"}),
        client.post("/v1/datasets/pets/images", files=files),
        client.post("/v1/datasets/pets/versions"),
        job := client.post("/v1/jobs", json=update),
        client.post(f"/v1/jobs/{job.json()['id']}/cancel"),
        again := client.post(f"/v1/jobs/{job.json()['id']}/retry"),
        client.put(PRODUCTION, json={"version": 2, "reason": "up"}, headers={"If-Match": '"1"'}),
        client.post(f"{PRODUCTION}/rollback", json={"reason": "down"}),
        client.post("/v1/gate-policies", json={"name": "strict", "reason": "for this test"}),
        client.patch("/v1/models/demo", json={"policy": "strict", "reason": "for this test"}),
        client.patch("/v1/models/demo", json={"policy": "strict"}),  # changes nothing
        client.post("/v1/gc", json={"keep_last": 0}),
        key := client.post("/v1/api-keys", json={"name": "ci", "role": "viewer"}),
        client.post("/v1/api-keys/ci/rotate"),
        client.delete("/v1/api-keys/ci"),
        fresh := client.post("/v1/models", json={"name": "fresh"}),
    )
    assert all(answer.is_success for answer in told), [a.text for a in told if a.is_error]
    written = [event for event in events(service) if event["sequence"] > start]
    here, key_here = "models/demo/aliases/production", f"api-keys/{key.json()['id']}"
    assert [(event["action"], event["subject"]) for event in written] == [
        ("dataset.created", "datasets/pets"),
        ("dataset.extended", "datasets/pets"),
        ("dataset.frozen", "datasets/pets/versions/1"),
        ("job.ordered", f"jobs/{job.json()['id']}"),
        ("job.cancelled", f"jobs/{job.json()['id']}"),
        ("job.retried", f"jobs/{again.json()['id']}"),
        ("alias.moved", here),
        ("alias.rolled_back", here),
        ("policy.created", "gate-policies/strict"),
        ("model.configured", "models/demo"),
        ("collection.started", "gc"),
        ("weights.deleted", "models/demo/versions/2"),
        ("key.created", key_here),
        ("key.rotated", key_here),
        ("key.revoked", key_here),
        ("model.created", "models/fresh"),
        ("job.ordered", f"jobs/{fresh.json()['id']}"),
    ]
    (admin,) = {(e["actor"], e["key"], e["request_id"]) for e in written}
    assert admin == ("admin", client.get("/v1/api-keys/admin").json()["id"], "mine")
    moved = written[6]
    assert (moved["from"], moved["to"]["version"], moved["reason"]) == ({"version": 1}, 2, "up")
    configured = written[9]
    assert (configured["from"]["policy"], configured["to"]["policy"]) == ("default", "strict")
    assert key.json()["secret"] not in str(written)
    assert client.get(f"{EVENTS}/verification").json() == {
        "holds": True,
        "events": written[-1]["sequence"],
        "hash": written[-1]["hash"],
        "broken_at": None,
    }


def test_every_correction_and_every_deletion_leaves_an_event(service: Service) -> None:
    model, client = a_root(service.platform), service.client
    a_candidate(service.platform, model)
    pets, files = "/v1/datasets/pets", pictures_on(Side.TRAIN, 9)[:4]
    client.post("/v1/datasets", json={"name": "pets"})
    client.post(
        f"{pets}/images", files=[(text, ("a.png", files[n])) for n, text in enumerate("aabb")]
    )
    held, start = client.get(f"{pets}/images").json()["data"], events(service)[-1]["sequence"]
    first, second = (image["pixels"] for image in held if image["texts"] == ["a"])
    nothing = (
        client.patch(pets, json={"description": ""}),
        client.patch(f"{pets}/classes/a", json={"name": "a"}),
        client.post(f"{pets}/moves", json={"class": "a", "images": [first]}),
    )
    assert all(answer.is_success for answer in nothing)
    assert events(service)[-1]["sequence"] == start
    told = (
        client.patch(pets, json={"description": "ours"}),
        client.patch(f"{pets}/classes/b", json={"name": "c"}),
        client.post(f"{pets}/moves", json={"class": "c", "images": [first, second]}),
        client.delete(f"{pets}/images/{first}"),
        client.post(f"{pets}/versions"),
        client.delete(f"{pets}/versions/1"),
        client.delete(pets),
        client.delete("/v1/models/demo/versions/2"),
        client.delete(f"{PRODUCTION}?reason=paused", headers={"If-Match": '"1"'}),
        client.delete("/v1/models/demo?reason=old"),
    )
    assert all(answer.is_success for answer in told), [a.text for a in told if a.is_error]
    written = [event for event in events(service) if event["sequence"] > start]
    assert [(event["action"], event["subject"]) for event in written] == [
        ("dataset.described", "datasets/pets"),
        ("class.renamed", "datasets/pets"),
        ("images.moved", "datasets/pets"),
        ("image.deleted", f"datasets/pets/images/{first}"),
        ("dataset.frozen", "datasets/pets/versions/1"),
        ("dataset_version.deleted", "datasets/pets/versions/1"),
        ("dataset.deleted", "datasets/pets"),
        ("version.deleted", "models/demo/versions/2"),
        ("alias.deleted", "models/demo/aliases/production"),
        ("model.deleted", "models/demo"),
    ]
    moved, alias = written[2], written[8]
    assert (moved["from"], moved["to"]) == ({"images": {"a": 2}}, {"images": {"c": 2}})
    assert (alias["from"], alias["to"], alias["reason"]) == ({"version": 1}, None, "paused")


WRONG = [
    ("since", "1764150000"),
    ("since", "2026-11-26"),
    ("until", "2026-11-26T09:30:00"),
    ("since", "0001-01-01T00:00:00+14:00"),
    ("after", "x"),
]


@EMBEDDED
def test_events_are_filtered_and_paged(service: Service) -> None:
    a_root(service.platform)
    service.client.post("/v1/datasets", json={"name": "pets"})
    (event,) = events(service, subject="datasets/pets")
    assert events(service, action="dataset.created", actor="admin") == [event]
    assert events(service, since=event["at"], subject="datasets") == [event]
    assert events(service, until=event["at"], subject="datasets") == []
    first = service.client.get(EVENTS, params={"limit": 1}).json()
    assert (first["data"], first["has_more"]) == ([event], True)
    second = service.client.get(EVENTS, params={"limit": 1, "after": first["next"]}).json()
    assert second["data"][0]["sequence"] == event["sequence"] - 1
    for name, value in WRONG:
        answer = service.client.get(EVENTS, params={name: value})
        assert code_of(answer) == (422, "field_invalid"), value
        assert answer.json()["errors"][0]["pointer"] == f"#query/{name}"


@EMBEDDED
def test_a_removed_row_shows(service: Service) -> None:
    for name in ("a", "b", "c"):
        service.client.post("/v1/datasets", json={"name": name})
    (removed,) = events(service, subject="datasets/b")
    with service.platform.transactions() as work:
        number = audit_events.c.sequence
        work._connection.execute(delete(audit_events).where(number == removed["sequence"]))
        work.commit()
    told = service.client.get(f"{EVENTS}/verification").json()
    assert (told["holds"], told["broken_at"]) == (False, removed["sequence"])
