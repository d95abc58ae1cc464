"""What holds for every endpoint: keys, problems, ids, headers, caps."""

import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from api.app import create_app
from api.openapi_document import to_text
from core.errors import ArtifactsUnavailable, DatabaseUnavailable, UnsafeConfiguration
from core.fleet.rows import Heartbeats
from core.settings import Settings
from tests.support.api.service import EMBEDDED, KEY, Service, code_of, running, settings_of
from tests.support.places import ROOT


def test_every_path_but_health_needs_a_key(service: Service) -> None:
    for path in ("/v1/datasets", "/v1/models/x", "/nowhere"):
        answer = service.client.get(path, headers={"Authorization": ""})
        assert code_of(answer) == (401, "unauthorised")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert service.client.get("/healthz", headers={"Authorization": ""}).status_code == 200


def test_a_wrong_key_is_refused(service: Service) -> None:
    for sent in ["Bearer pk_wrong", f"Basic {KEY}", "Bearer", KEY]:
        answer = service.client.get("/v1/datasets", headers={"Authorization": sent})
        assert code_of(answer) == (401, "unauthorised"), sent
        assert "pk_" not in answer.text


def test_problems_have_one_shape(service: Service) -> None:
    answer = service.client.get("/v1/models/nobody", headers={"X-Request-Id": "mine-17"})
    assert answer.json() == {
        "type": "urn:perennial:problem:model_not_found",
        "code": "model_not_found",
        "title": "There is no such model.",
        "status": 404,
        "detail": "There is no such model.",
        "errors": [],
        "request_id": "mine-17",
        "retryable": False,
        "facts": {"model": "nobody"},
    }
    assert answer.headers["x-request-id"] == "mine-17"


def test_every_reply_forbids_sniffing_and_scripts(service: Service) -> None:
    for path in ("/healthz", "/v1/datasets", "/nowhere"):
        headers = service.client.get(path, headers={"X-Request-Id": "<script>"}).headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")


def test_unknown_fields_are_named_by_pointer(service: Service) -> None:
    with service.untouched():
        answer = service.client.post("/v1/datasets", json={"name": "cats", "path": "/etc"})
    assert code_of(answer) == (422, "field_unknown")
    assert answer.json()["errors"] == [
        {"code": "field_unknown", "pointer": "/path", "detail": "This field is unknown."}
    ]


NOT_JSON = [b"{", b'{"name": "\xff"}', b'{"name": ' + b"[" * 10, '{"name": "a"}'.encode("utf-16")]


def test_a_body_that_is_not_json(service: Service) -> None:
    for body in NOT_JSON:
        answer = service.client.post(
            "/v1/datasets", content=body, headers={"Content-Type": "application/json"}
        )
        assert code_of(answer) == (400, "malformed"), body[:20]


def test_unknown_paths(service: Service) -> None:
    for path in ("/v1/nothing", "/v1/datasets/%00"):
        assert code_of(service.client.get(path)) == (404, "not_found")
    assert code_of(service.client.get("/v1/jobs?model=a%00")) == (422, "field_invalid")
    slash = service.client.get("/v1/datasets/", follow_redirects=False)
    assert code_of(slash) == (404, "not_found")


@pytest.mark.parametrize("cap", ["max_body_bytes", "max_json_bytes"])
def test_a_json_body_over_the_cap_is_refused_while_it_arrives(home: Path, cap: str) -> None:
    with running(settings_of(home, **{cap: 1000})) as service, service.untouched():
        sent = service.client.post(
            "/v1/datasets",
            content=iter([b'{"name": "', *[b"a" * 100] * 20]),
            headers={"Content-Type": "application/json"},
        )
        declared = service.client.post("/v1/datasets", json={"name": "a" * 2000})
        headers = {"Content-Type": "application/zip+json"}
        renamed = service.client.post("/v1/datasets", content=b" " * 2000, headers=headers)
    assert code_of(sent) == (413, "body_too_large")
    assert code_of(declared) == (413, "body_too_large")
    assert code_of(renamed) == (413, "body_too_large")


def test_a_fault_of_ours_tells_its_id_and_nothing_else(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Mock(side_effect=ZeroDivisionError("secret detail"))
    monkeypatch.setattr(type(service.platform.transactions), "__call__", fault)
    answer = service.client.get("/v1/datasets", headers={"X-Request-Id": "abc"})
    assert code_of(answer) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "abc"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_a_database_that_is_down_is_a_503(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Mock(side_effect=DatabaseUnavailable)
    monkeypatch.setattr(type(service.platform.transactions), "__call__", away)
    answer = service.client.get("/v1/datasets")
    assert code_of(answer) == (503, "database_unavailable")
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
    ready = service.client.get("/readyz")
    assert code_of(ready) == (503, "not_ready")
    assert ready.json()["facts"]["checks"]["database"] is False
    assert service.client.get("/healthz").status_code == 200


def test_ready_means_a_worker_lives(service: Service) -> None:
    answer = service.client.get("/readyz")
    assert code_of(answer) == (503, "not_ready")
    assert answer.json()["facts"] == {"checks": {"database": True, "disk": True, "worker": False}}
    with service.platform.transactions() as work:
        work[Heartbeats].record("host:1", {})
        work.commit()
    assert service.client.get("/readyz").json()["status"] == "ok"


def test_not_ready_when_the_disk_is_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = Mock(side_effect=ArtifactsUnavailable)
    with running(settings_of(home, min_free_bytes=2**60)) as service:
        checks = service.client.get("/readyz").json()["facts"]["checks"]
        assert (checks["disk"], checks["database"]) == (False, True)
        monkeypatch.setattr(type(service.platform.artifacts), "free_bytes", away)
        assert service.client.get("/readyz").json()["facts"]["checks"] == checks


@pytest.mark.parametrize("changes", [{"host": "0.0.0.0", "admin_key": ""}, {"admin_key": "admin"}])
def test_an_unsafe_configuration_does_not_start(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(UnsafeConfiguration, match="key"):
        create_app(Settings(home=tmp_path, **changes))


@EMBEDDED
def test_the_committed_document_is_the_present_one(service: Service) -> None:
    committed = (ROOT / "docs" / "openapi.json").read_text("utf-8")
    present = to_text(service.client.app)  # type: ignore[arg-type]
    assert committed == present, "python -m api.openapi > docs/openapi.json"


@EMBEDDED
def test_operation_ids_are_stable_and_ours(service: Service) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    found = [operation for methods in paths.values() for operation in methods.values()]
    names = [operation["operationId"] for operation in found]
    assert len(names) == len(set(names)) > 30
    assert all(name.isidentifier() for name in names)
    assert not any("HTTPValidationError" in str(operation) for operation in found)


@EMBEDDED
def test_the_reference_needs_no_key_and_nothing_from_outside(service: Service) -> None:
    answer, document = (
        service.client.get(path, headers={"Authorization": ""})
        for path in ("/docs", "/openapi.json")
    )
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self' 'sha256-")
    assert not re.search("unsafe|http|[*]", policy)
    assert "/v1/jobs" in document.json()["paths"]
    (script,) = re.findall('data-renderer="([^"]+)"', answer.text)
    plain, packed = (
        service.client.get(script, headers={"Authorization": "", "Accept-Encoding": encoding})
        for encoding in ("identity", "gzip")
    )
    assert plain.content == packed.content
    assert int(packed.headers["content-length"]) < 700_000 < int(plain.headers["content-length"])
