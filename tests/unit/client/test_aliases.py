"""Promotions and rollbacks, and what they were decided on."""

import uuid

import pytest

from core.gate.rules import Verdict
from perennial.errors import ServiceError
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.served import Served


@pytest.fixture
def model(served: Served) -> str:
    """A model of the test's own: version 1 is live, 2 has passed, 3 has failed."""
    made = a_root(served.platform, f"m-{uuid.uuid4().hex}")
    for verdict in (Verdict.PASSED, Verdict.FAILED):
        a_candidate(served.platform, made, verdict=verdict)
    return made.name


def test_a_version_is_promoted_and_rolled_back(served: Served, model: str) -> None:
    aliases = served.client.aliases
    seen = aliases.get(model)
    moved = aliases.promote(model, 2, reason="better", expected_revision=seen["revision"])
    assert (moved["version"], moved["revision"]) == (2, 2)
    assert aliases.get(model) == moved
    assert aliases.roll_back(model, reason="worse", expected_revision=2)["version"] == 1
    moves = [(move["kind"], move["to_version"], move["reason"]) for move in aliases.history(model)]
    assert moves[1:] == [("promoted", 2, "better"), ("rolled_back", 1, "worse")]


def test_without_a_revision_an_alias_moves_whatever_it_is(served: Served, model: str) -> None:
    assert served.client.aliases.promote(model, 2)["version"] == 2
    assert served.client.aliases.roll_back(model, reason="worse")["version"] == 1


def test_a_move_that_was_decided_on_an_older_state_is_refused(served: Served, model: str) -> None:
    with pytest.raises(ServiceError, match="412 stale_revision"):
        served.client.aliases.promote(model, 2, expected_revision=7)
    with pytest.raises(ServiceError, match="412 stale_revision"):
        served.client.aliases.roll_back(model, reason="worse", expected_revision=0)


def test_an_alias_is_created_once(served: Served, model: str) -> None:
    made = served.client.aliases.promote(model, 2, alias="staging", expected_revision=0)
    assert (made["alias"], made["revision"]) == ("staging", 1)
    with pytest.raises(ServiceError, match="412 stale_revision"):
        served.client.aliases.promote(model, 2, alias="staging", expected_revision=0)
    names = [alias["alias"] for alias in served.client.aliases.list(model)]
    assert sorted(names) == ["production", "staging"]


def test_the_gate_is_passed_by_override_alone(served: Served, model: str) -> None:
    with pytest.raises(ServiceError, match="409 gate_failed") as refusal:
        served.client.aliases.promote(model, 3)
    assert refusal.value.facts["scores"]["measures"]
    moved = served.client.aliases.promote(model, 3, override=True, reason="a demonstration")
    assert moved["version"] == 3


def test_versions_aliases_and_models_are_deleted(served: Served, model: str) -> None:
    client = served.client
    client.versions.delete(model, 3)
    assert [version["version"] for version in client.versions.list(model)] == [1, 2]
    with pytest.raises(ServiceError, match="412 stale_revision"):
        client.aliases.delete(model, "production", expected_revision=7)
    client.aliases.delete(model, "production", reason="paused")
    assert list(client.aliases.list(model)) == []
    assert [move["reason"] for move in client.aliases.history(model)][1:] == ["paused"]
    client.models.delete(model)
    with pytest.raises(ServiceError, match="404"):
        client.models.get(model)
