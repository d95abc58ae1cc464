"""Aliases: preconditions, the gate's last word, rollback, history."""

from typing import Any

import pytest

from core.gate.rules import Verdict
from core.principal import Role
from core.registry.version_rows import Versions
from core.registry.versions import Model
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, code_of

PRODUCTION = "/v1/models/demo/aliases/production"

TAUGHT = ("cat", "dog")


@pytest.fixture
def model(service: Service) -> Model:
    """The model `demo`: 1 live, 2 passed, 3 failed, 4 inconclusive, 5 not judged; 4 is from 2."""
    made = a_root(service.platform)
    for verdict, parent in (
        (Verdict.PASSED, 1),
        (Verdict.FAILED, 1),
        (Verdict.INCONCLUSIVE, 2),
        (None, 1),
    ):
        a_candidate(service.platform, made, verdict=verdict, parent=parent, teaches=TAUGHT)
    return made


def put(service: Service, version: int, match: str | None = '"1"', **body: Any) -> Any:
    headers = {"If-Match": match} if match else {}
    return service.client.put(PRODUCTION, json={"version": version, **body}, headers=headers)


def test_an_alias_tells_its_version_digest_and_revision_and_moves(
    service: Service, model: Model
) -> None:
    answer = service.client.get(PRODUCTION)
    root = service.client.get("/v1/models/demo/versions/1").json()
    assert answer.headers["etag"] == '"1"'
    assert (answer.json()["version"], answer.json()["digest"]) == (1, root["digest"])
    assert service.client.get("/v1/models/demo/aliases").json()["data"] == [answer.json()]
    missing = service.client.get("/v1/models/demo/aliases/x")
    assert code_of(missing) == (404, "alias_not_found")
    moved = put(service, 2, "*", reason="better")
    assert (moved.status_code, moved.headers["etag"], moved.json()["version"]) == (200, '"2"', 2)
    assert service.client.get("/v1/models/demo/versions/2").json()["status"] == "promoted"


def test_a_move_needs_a_precondition(service: Service, model: Model) -> None:
    with service.untouched():
        assert code_of(put(service, 2, None)) == (428, "precondition_required")


def test_a_stale_or_strange_tag_moves_nothing(service: Service, model: Model) -> None:
    no_tags = ['"0"', '"x"', "1", 'W/"1"', '"99999999999"', '""']
    for match in ['"2"', *no_tags]:
        with service.untouched():
            answer = put(service, 2, match)
        assert code_of(answer) == (412, "stale_revision"), match
        assert ("has been moved" in answer.json()["detail"]) == (match not in no_tags), match


def test_if_none_match_creates_once(service: Service, model: Model) -> None:
    path, headers = "/v1/models/demo/aliases/staging", {"If-None-Match": "*"}
    with service.untouched():
        for match in ("*", '"0"'):
            absent = service.client.put(path, json={"version": 2}, headers={"If-Match": match})
            assert code_of(absent) == (412, "stale_revision")
    made = service.client.put(path, json={"version": 2}, headers=headers)
    assert (made.status_code, made.headers["etag"]) == (200, '"1"')
    with service.untouched():
        again = service.client.put(path, json={"version": 1}, headers=headers)
    assert code_of(again) == (412, "stale_revision")


def test_the_gate_forbids_a_version_that_failed_and_names_the_scores(
    service: Service, model: Model
) -> None:
    with service.untouched():
        answer = put(service, 3, reason="try it anyway")
    assert code_of(answer) == (409, "gate_failed")
    facts = answer.json()["facts"]
    assert (facts["version"], facts["verdict"]) == (3, "failed")
    assert facts["scores"]["reasons"] == ["It forgot."]
    assert facts["scores"]["measures"]


def test_an_inconclusive_version_needs_a_reason(service: Service, model: Model) -> None:
    put(service, 2)
    with service.untouched():
        assert code_of(put(service, 4, '"2"')) == (409, "gate_failed")
        unseen = put(service, 4, '"2"', reason="\u200b\u2060")  # both without width
        assert code_of(unseen) == (409, "gate_failed")
    assert put(service, 4, '"2"', reason="enough for us").status_code == 200


def test_an_override_needs_a_reason_and_is_recorded(service: Service, model: Model) -> None:
    with service.untouched():
        for unseen in ({}, {"reason": "\u200b"}):
            refused = put(service, 3, override=True, **unseen)
            assert code_of(refused) == (422, "field_invalid")
    assert put(service, 3, override=True, reason="only boots matter").status_code == 200
    row = service.client.get(PRODUCTION + "/history").json()["data"][-1]
    assert (row["to_version"], row["reason"], row["actor"]) == (3, "only boots matter", "admin")
    assert row["override"]
    versions = service.client.get("/v1/models/demo/versions").json()["data"]
    assert [row["overridden"] for row in versions] == [False, False, True, False, False]
    assert service.client.get("/v1/models/demo/versions/3").json()["overridden"]


def test_a_version_beside_the_live_one_says_what_would_be_lost_and_how_to_score_it(
    service: Service, model: Model
) -> None:
    put(service, 2)
    a_candidate(service.platform, model, verdict=Verdict.PASSED, teaches=("owl",))
    with service.untouched():
        answer = put(service, 6, '"2"', reason="owls")
    assert code_of(answer) == (409, "evaluation_stale")
    facts = answer.json()["facts"]
    assert (facts["live"], facts["lost"]) == (2, {"versions": [2], "classes": ["cat", "dog"]})
    ordered = service.client.post("/v1/jobs", json=facts["score_again"])
    assert (ordered.status_code, ordered.json()["type"]) == (202, "evaluate")


def test_only_admins_override_a_failure(service: Service, model: Model) -> None:
    operator = service.key(Role.OPERATOR)
    client, forced = service.client, {"reason": "mine", "override": True}
    with service.untouched():
        headers = operator | {"If-Match": '"1"'}
        answer = client.put(PRODUCTION, json={"version": 3} | forced, headers=headers)
    assert code_of(answer) == (403, "forbidden")
    assert put(service, 3, **forced).status_code == 200
    back = {"to": 1, "reason": "it forgot"}
    assert client.post(f"{PRODUCTION}/rollback", json=back, headers=operator).status_code == 200
    with service.untouched():
        answer = client.post(f"{PRODUCTION}/rollback", json={"to": 3} | forced, headers=operator)
    assert code_of(answer) == (403, "forbidden")
    assert client.post(f"{PRODUCTION}/rollback", json={"to": 3} | forced).json()["version"] == 3


def test_the_root_takes_an_override_or_a_rollback(service: Service, model: Model) -> None:
    put(service, 2)
    headers = service.key(Role.OPERATOR) | {"If-Match": '"2"'}
    order: dict[str, Any] = {"version": 1, "reason": "start again"}
    with service.untouched():
        answer = service.client.put(PRODUCTION, json=order, headers=headers)
    assert code_of(answer) == (409, "evaluation_stale")
    assert "roll back" in answer.json()["detail"]
    order["override"] = True  # of an admin, as it lacks what version 2 has learned
    with service.untouched():
        answer = service.client.put(PRODUCTION, json=order, headers=headers)
    assert code_of(answer) == (403, "forbidden")
    assert put(service, 1, '"2"', reason="start again", override=True).status_code == 200


def test_a_version_without_a_verdict_waits(service: Service, model: Model) -> None:
    with service.untouched():
        assert code_of(put(service, 5)) == (409, "evaluation_pending")
        assert code_of(put(service, 9)) == (404, "version_not_found")


def test_weights_that_are_gone_are_not_promoted(service: Service, model: Model) -> None:
    with service.platform.transactions(read_only=True) as work:
        service.platform.artifacts.delete(work[Versions].get(model.id, 2).digest)
    with service.untouched():
        assert code_of(put(service, 2)) == (410, "artifact_gone")


def test_rollback_goes_back_and_never_toggles(service: Service, model: Model) -> None:
    put(service, 2)
    put(service, 4, '"2"', reason="enough")
    live = [
        service.client.post(PRODUCTION + "/rollback", json={"reason": "worse"}).json()["version"]
        for _ in range(2)
    ]
    assert live == [2, 1]
    with service.untouched():
        answer = service.client.post(PRODUCTION + "/rollback", json={"reason": "more"})
    assert code_of(answer) == (409, "no_previous")
    page = service.client.get(PRODUCTION + "/history").json()
    assert [row["to_version"] for row in page["data"]] == [1, 2, 4, 2, 1]
    assert {"kind": "rolled_back", "from_version": 2}.items() <= page["data"][-1].items()
    second = service.client.get(PRODUCTION + "/history?limit=2&after=2").json()
    assert [row["revision"] for row in second["data"]] == [3, 4]
    assert second["next"] == "4"


NO_ROLLBACKS = [
    ({}, None, 422, "field_invalid"),
    ({"reason": " \n"}, None, 422, "field_invalid"),
    ({"reason": "r", "to": 77}, None, 404, "version_not_found"),
    ({"reason": "r"}, '"1"', 412, "stale_revision"),
]


def test_a_rollback_that_cannot_be(service: Service, model: Model) -> None:
    put(service, 2)
    for body, match, status, code in NO_ROLLBACKS:
        headers = {"If-Match": match} if match else {}
        with service.untouched():
            answer = service.client.post(PRODUCTION + "/rollback", json=body, headers=headers)
        assert code_of(answer) == (status, code), body
    answer = service.client.post(
        PRODUCTION + "/rollback", json={"reason": "r", "to": 1}, headers={"If-Match": '"2"'}
    )
    assert (answer.json()["version"], answer.headers["etag"]) == (1, '"3"')
