"""API keys over HTTP."""

from datetime import datetime
from typing import Any

from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, Service, code_of, running

KEYS = "/v1/api-keys"


def made(service: Service, **changes: Any) -> dict[str, Any]:
    answer = service.client.post(KEYS, json={"name": "ci", "role": "contributor"} | changes)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert answer.headers["location"] == f"{KEYS}/{found['id']}"
    return found


def status(service: Service, secret: str, path: str = "/v1/models") -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    return int(service.client.get(path, headers=headers).status_code)


def test_a_key_is_created_shown_once_rotated_and_revoked(service: Service) -> None:
    a_root(service.platform)
    key = made(service, models=["demo"], expires_at="2099-01-01T01:00:00+01:00")
    old = key.pop("secret")
    assert (key["models"], key["live"], key["prefix"]) == (["demo"], True, old[:9])
    assert key["expires_at"] == "2099-01-01T00:00:00Z"
    here = f"{KEYS}/{key['id']}"
    assert service.client.get(here).json() == service.client.get(f"{KEYS}/ci").json() == key
    listed = service.client.get(KEYS).json()["data"]
    assert [one["name"] for one in listed] == ["admin", "ci"]
    assert "secret" not in str(listed)

    new = service.client.post(f"{here}/rotate").json()["secret"]
    assert [status(service, one) for one in (old, new)] == [200, 200]
    last = service.client.post(f"{here}/rotate", json={"overlap_hours": 0}).json()["secret"]
    assert [status(service, one) for one in (old, new, last)] == [401, 401, 200]
    assert status(service, last, KEYS) == 403

    assert service.client.delete(here).status_code == 204
    assert status(service, last) == 401
    assert service.client.get(here).json()["live"] is False
    assert code_of(service.client.post(f"{here}/rotate")) == (409, "key_not_live")
    assert code_of(service.client.delete(f"{KEYS}/admin")) == (409, "last_admin_key")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = service.client.request(method, f"{KEYS}/nobody{path}")
        assert code_of(answer) == (404, "key_not_found")


@EMBEDDED
def test_the_last_use_of_a_key_is_noted_and_no_request_writes_it(service: Service) -> None:
    key = made(service)
    assert key["last_used_at"] is None
    with running(service.settings) as other:  # which notes uses at the latest when it stops
        began = other.platform.clock()
        assert status(other, key["secret"]) == 200
        assert service.client.get(f"{KEYS}/ci").json()["last_used_at"] is None
    used = service.client.get(f"{KEYS}/ci").json()["last_used_at"]
    assert began <= datetime.fromisoformat(used) <= service.platform.clock()
    assert service.client.get(KEYS).json()["data"][1]["last_used_at"] == used


REFUSED = [
    ({"role": "owner"}, (422, "field_invalid")),
    ({"role": "admin", "models": ["demo"]}, (422, "field_invalid")),
    ({"models": ["nobody"]}, (404, "model_not_found")),
    ({"name": "Not a name"}, (422, "name_invalid")),
    ({"name": "admin"}, (409, "name_taken")),
    ({"expires_at": "2020-01-01T00:00:00Z"}, (422, "field_invalid")),
    ({"expires_at": 4102444800}, (422, "field_invalid")),
]


@EMBEDDED
def test_orders_that_make_no_sense_are_refused(service: Service) -> None:
    a_root(service.platform)
    for changes, code in REFUSED:
        with service.untouched():
            answer = service.client.post(KEYS, json={"name": "ci", "role": "viewer"} | changes)
        assert code_of(answer) == code, changes
