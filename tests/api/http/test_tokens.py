"""Tokens of a real OpenID Connect issuer, beside API keys."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.errors import UnsafeConfiguration
from core.settings import Settings
from devtools.ports import free_port
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, KEY, Service, code_of, running, settings_of
from tests.support.servers.issuer import AUDIENCE, Issuer

ROLES = {"ml-ops": "operator", "staff": "viewer", "owners": "admin"}

OWN, FOREIGN = "own", "foreign"


@pytest.fixture
def settings(home: Path, issuer: Issuer) -> Settings:
    """Settings with an issuer whose tokens have groups and models."""
    return settings_of(
        home,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_role_claim="groups",
        oidc_roles=ROLES,
        oidc_models_claim="models",
    )


def asking(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_does_what_its_claims_allow_and_audit_events_name_its_subject(
    service: Service, issuer: Issuer
) -> None:
    for name in (OWN, FOREIGN):
        a_root(service.platform, name)
    ann = asking(issuer.log_in("ann", groups=["staff", "ml-ops"], models=[OWN, "nothing", "a\0b"]))
    listed = service.client.get("/v1/models", headers=ann).json()["data"]
    assert [model["name"] for model in listed] == [OWN]
    made = service.client.put(
        f"/v1/models/{OWN}/aliases/next",
        json={"version": 1, "reason": "a try"},
        headers=ann | {"If-None-Match": "*"},
    )
    assert made.status_code == 200, made.text
    assert code_of(service.client.get(f"/v1/models/{FOREIGN}", headers=ann))[0] == 404
    denied = service.client.get("/v1/api-keys", headers=ann)
    assert code_of(denied) == (403, "forbidden")
    assert denied.json()["facts"] == {"required_role": "admin", "role": "operator"}

    owner = asking(issuer.log_in("olga", groups=["owners"]))
    (event, *_) = service.client.get("/v1/audit-events", headers=owner).json()["data"]
    assert (event["actor"], event["key"], event["action"]) == ("oidc:ann", None, "alias.created")


@EMBEDDED
def test_an_idempotency_key_belongs_to_the_subject(service: Service, issuer: Issuer) -> None:
    sent = {"json": {"name": "mine"}}
    answers: list[Any] = []
    for subject in ("ann", "ann", "bob"):
        token = asking(issuer.log_in(subject, groups=["owners"]))
        headers = token | {"Idempotency-Key": "once"}
        answers.append(service.client.post("/v1/models", headers=headers, **sent))
    first, again, other = answers
    assert first.status_code == again.status_code == 202, first.text
    assert again.json()["id"] == first.json()["id"]
    assert code_of(other) == (409, "name_taken")


@EMBEDDED
def test_a_token_without_a_role_may_do_nothing_and_a_refused_one_gets_what_a_wrong_key_gets(
    service: Service, issuer: Issuer
) -> None:
    def problem(secret: str) -> dict[str, Any]:
        answer = service.client.get("/v1/models", headers=asking(secret))
        found: dict[str, Any] = answer.json()
        return found | {"request_id": "", "www": answer.headers.get("www-authenticate")}

    for claims in ({}, {"groups": ["guests"]}, {"role": "owners"}, {"groups": ["operator"]}):
        assert problem(issuer.log_in("guest", **claims))["code"] == "forbidden"
    wrong_key = problem("pk_wrong")
    assert (wrong_key["code"], wrong_key["www"]) == ("unauthorised", "Bearer")
    for token in (
        issuer.log_in("ann", audience="shop", groups=["owners"]),
        issuer.sign(groups=["owners"], exp=1),
        issuer.sign(groups=["owners"], sub="a\nb"),
    ):
        assert problem(token) == wrong_key


@EMBEDDED
def test_without_an_issuer_no_token_is_valid(home: Path, issuer: Issuer) -> None:
    with running(settings_of(home)) as plain:
        token = asking(issuer.log_in("ann", roles=["admin"]))
        assert code_of(plain.client.get("/v1/models", headers=token)) == (401, "unauthorised")
    with running(settings_of(home, oidc_issuer=issuer.url, oidc_audience=AUDIENCE)) as open_to_it:
        assert open_to_it.client.get("/v1/api-keys", headers=token).status_code == 200


@EMBEDDED
def test_while_the_issuer_is_down_tokens_wait_and_keys_do_not(home: Path, issuer: Issuer) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with running(settings_of(home, oidc_issuer=nowhere, oidc_audience=AUDIENCE)) as service:
        client: TestClient = service.client
        answer = client.get("/v1/models", headers=asking(issuer.sign()))
        assert code_of(answer) == (503, "issuer_unavailable")
        assert answer.json()["retryable"] is True
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/v1/models", headers=asking(KEY)).status_code == 200
        wrong_key = client.get("/v1/models", headers=asking("pk_wrong"))
        assert code_of(wrong_key) == (401, "unauthorised")


@EMBEDDED
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"oidc_issuer": "https://login.example"}, "OIDC_AUDIENCE together"),
        ({"oidc_audience": AUDIENCE}, "OIDC_AUDIENCE together"),
        ({"oidc_issuer": "http://login.example", "oidc_audience": AUDIENCE}, "must be an https"),
    ],
)
def test_an_issuer_that_proves_nothing_is_refused_at_start(
    home: Path, changes: dict[str, str], says: str
) -> None:
    with pytest.raises(UnsafeConfiguration, match=says), running(settings_of(home, **changes)):
        pass
