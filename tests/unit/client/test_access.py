"""Keys and audit events."""

import pytest

from perennial import Client, ServiceError
from tests.support.api.seeds import a_root
from tests.support.api.served import Served


def test_a_key_is_made_rotated_and_revoked(served: Served) -> None:
    keys = served.client.keys
    old = keys.create("ci", "viewer", expires_at="2099-12-31T00:00:00Z")
    assert keys.get("ci") == {name: value for name, value in old.items() if name != "secret"}
    assert [key["name"] for key in keys.list()] == ["admin", "ci"]
    new = keys.rotate("ci", overlap_hours=0)
    with (
        Client(served.url, old["secret"], trust_env=False) as theirs,
        pytest.raises(ServiceError, match="401"),
    ):
        theirs.principal()
    assert keys.get("ci")["id"] == new["id"]
    keys.revoke(new["id"])
    with pytest.raises(ServiceError, match="last_admin_key"):
        keys.revoke("admin")


def test_changes_are_listed_and_verified(served: Served) -> None:
    served.client.datasets.create("owls")
    (event,) = served.client.audit.events(subject="datasets/owls", actor="admin")
    assert (event["action"], event["to"]) == ("dataset.created", {"kind": "labelled"})
    found = served.client.audit.verify()
    assert (found["holds"], found["hash"]) == (True, event["hash"])


def test_a_key_is_told_whose_it_is(served: Served) -> None:
    assert served.client.principal()["role"] == "admin"
    a_root(served.platform, "mine")
    secret = served.client.keys.create("robot", "contributor", models=["mine"])["secret"]
    with Client(served.url, secret, trust_env=False) as robot:
        found = robot.principal()
    assert (found["name"], found["role"], found["models"]) == ("robot", "contributor", ["mine"])
    assert found["key"] == served.client.keys.get("robot")["id"]
