"""Every operation, asked by every role, about a model of its own and about another's."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.http.lookups import VersionLookup
from core.access.rows import Keys
from core.errors import ModelNotFound
from core.fleet.rows import Heartbeats
from core.principal import COMMAND_LINE, Principal, Role
from core.values import sha256
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, Service
from tests.support.factories import a_key
from tests.support.places import ROOT

pytestmark = EMBEDDED

OWN, FOREIGN, MISSING = "own", "foreign", "missing"

OF_A_MODEL = {"model", "reference", "job"}  # path parameters that name something of a model

EVERY_MODEL = {
    "register_model",
    "make_suite",
    "get_metrics",
}  # refused to keys that are limited to some

OF_AN_IMPORT = {"stop_job", "order_job_again"}  # likewise: the own job is a model's import

UPDATE = {"type": "update", "dataset": "products", "dataset_version": 1}

# Bodies that name the model, or something that must be there; others are made of examples.
BODIES: dict[str, Any] = {
    "order_job": lambda model: UPDATE | {"model": model},
    "advise_update": lambda model: UPDATE | {"model": model},
    "register_model": lambda model: {"name": f"new-{model}"},
    "move_alias": lambda _: {"version": 1},
    "order_image_erasure": lambda _: {"images": ["0" * 64], "reason": "asked for"},
    "order_index_comparison": lambda _: {"from": 1},
    "create_embeddings": lambda model: {"model": model, "input": "a"},
    "begin_trial": lambda _: {"version": 1, "mode": "shadow"},
    "send_feedback": lambda _: {"labels": [{"prediction": "pred_0", "label": "boot"}]},
}

DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text("utf-8"))

SCHEMAS = DOCUMENT["components"]["schemas"]

QUERIES = {
    "get_comparison": {"versions": "1,2"},
    "get_blame": {"class": "hat"},
    "preview_alias_promotion": {"version": "1"},
}

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture
def jobs(service: Service) -> dict[str, str]:
    """Two models with a job each, the jobs by the model's name."""
    found = {MISSING: "job_missing"}
    for name in (OWN, FOREIGN):
        a_root(service.platform, name)
        (job,) = service.client.get("/v1/jobs", params={"model": name}).json()["data"]
        found[name] = job["id"]
    return found


def operations(service: Service) -> list[Operation]:
    """Method, path and description of every operation; what deletes comes last."""
    found = [
        (method, path, operation)
        for path, methods in service.client.get("/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda one: one[0] == "delete")


def keyed(service: Service) -> Iterator[tuple[Operation, Role]]:
    """Every operation that takes a key, with the role that it takes."""
    for operation in operations(service):
        if "security" in operation[2]:
            yield operation, Role(operation[2]["x-required-role"])


def ask(service: Service, operation: Operation, job: str, model: str, key: dict[str, str]) -> Any:
    """The answer of an operation about a model and its job."""
    method, path, described = operation
    things = {"model": model, "reference": model, "job": job, "alias": "production", "version": "1"}
    things |= {"export_format": "onnx", "dataset_version": "1", "baseline": "1"}
    things |= {"pixels": "0" * 64}
    names = {name: things.get(name, "nothing") for name in names_in(path)}
    named = BODIES.get(described["operationId"])
    body = named(model) if named else body_of_examples(described)
    sent = {"json": body} if method in {"post", "put", "patch"} else {}
    headers = {"If-Match": '"1"'} | key
    params = QUERIES.get(described["operationId"])
    return service.client.request(
        method, path.format(**names), params=params, headers=headers, **sent
    )


def body_of_examples(described: dict[str, Any]) -> dict[str, Any]:
    """The fields that the body of an operation must have, each by its first example."""
    content = described.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    schema = SCHEMAS.get(schema.get("$ref", "").rpartition("/")[2], schema)
    fields, required = schema.get("properties", {}), schema.get("required", ())
    return {name: fields[name]["examples"][0] for name in required if "examples" in fields[name]}


def names_in(path: str) -> set[str]:
    return {part[1:-1] for part in path.split("/") if part.startswith("{")}


def test_every_operation_with_a_key_declares_a_role_and_no_other_does(service: Service) -> None:
    for _, path, operation in operations(service):
        declared = operation.get("x-required-role")
        assert (declared in set(Role)) is ("security" in operation), path
    assert {role for _, role in keyed(service)} == set(Role)


def test_a_role_that_is_too_low_is_refused_whatever_it_asks_about(
    service: Service, jobs: dict[str, str]
) -> None:
    for role in Role:
        keys = {OWN: service.key(role), FOREIGN: service.key(role)}
        if role is not Role.ADMIN:
            keys = dict.fromkeys(keys, service.key(role, OWN))
        for operation, needed in keyed(service):
            for model, key in keys.items():
                answer = ask(service, operation, jobs[model], model, key)
                name = f"{operation[2]['operationId']} by {role} about {model}: {answer.text[:200]}"
                every = EVERY_MODEL | (OF_AN_IMPORT if model == OWN else set())
                limited = role is not Role.ADMIN and operation[2]["operationId"] in every
                refused = limited or not role.includes(needed)
                assert (answer.status_code == 403) is refused, name
                assert answer.status_code not in {401, 500}, name


@pytest.mark.parametrize("role", [Role.VIEWER, Role.CONTRIBUTOR, Role.OPERATOR])
def test_what_belongs_to_a_foreign_model_is_not_there(
    service: Service, jobs: dict[str, str], role: Role
) -> None:
    key, seen = service.key(role, OWN), 0
    for operation, needed in keyed(service):
        described = operation[2]["operationId"]
        names = names_in(operation[1])
        by_body = described in {"order_job", "advise_update", "create_embeddings"}
        if not role.includes(needed) or not (names & OF_A_MODEL or by_body):
            continue
        answers = {model: ask(service, operation, jobs[model], model, key) for model in jobs}
        codes = {
            model: answer.json()["code"] if answer.is_error else None
            for model, answer in answers.items()
        }
        assert answers[FOREIGN].status_code == 404, f"{described}: {answers[FOREIGN].text}"
        assert codes[FOREIGN] == codes[MISSING], described
        assert codes[OWN] not in {"model_not_found", "job_not_found"}, described
        seen += 1
    assert seen > 10


def test_a_read_that_is_refused_is_refused_to_head_and_is_never_not_modified(
    service: Service, jobs: dict[str, str]
) -> None:
    key = service.key(Role.VIEWER, OWN)
    refused: dict[int, set[str]] = {}
    for (method, path, described), needed in keyed(service):
        foreign = bool(names_in(path) & OF_A_MODEL)
        if method != "get" or not (needed is not Role.VIEWER or foreign):
            continue
        for sent, status in ((key, 404 if needed is Role.VIEWER else 403), ({}, 401)):
            headers = {"Authorization": ""} | sent | {"If-None-Match": "*"}
            for verb in ("get", "head"):
                operation = (verb, path, described)
                answer = ask(service, operation, jobs[FOREIGN], FOREIGN, headers)
                assert answer.status_code == status, f"{verb} {path}: {answer.text}"
                assert answer.headers["cache-control"] == "no-store", path
                assert "etag" not in answer.headers, path
            refused.setdefault(status, set()).add(described["operationId"])
    assert {"list_flips", "get_comparison", "get_blame"} < refused[404]
    assert {"list_api_keys", "list_webhooks", "list_audit_events"} < refused[403]


def test_lists_leave_out_foreign_models_and_their_jobs(
    service: Service, jobs: dict[str, str]
) -> None:
    key = service.key(Role.VIEWER, OWN)
    models = service.client.get("/v1/models", headers=key).json()["data"]
    assert [model["name"] for model in models] == [OWN]
    listed = service.client.get("/v1/jobs", headers=key).json()["data"]
    assert [job["id"] for job in listed] == [jobs[OWN]]
    for wanted in ({"created_since": "2020-01-01T00:00:00Z"}, {"type": "import"}):
        found = service.client.get("/v1/jobs", params=wanted, headers=key).json()["data"]
        assert [job["id"] for job in found] == [jobs[OWN]]
    every = service.client.get("/v1/jobs", headers=service.key(Role.VIEWER)).json()["data"]
    assert {job["id"] for job in every} == {jobs[OWN], jobs[FOREIGN]}
    with service.platform.transactions() as work:
        for name, job in jobs.items():
            work[Heartbeats].record(name, {"job": job})
        work.commit()
    workers = service.client.get("/v1/workers", headers=key).json()["data"]
    shown = {worker["id"]: worker["job"] for worker in workers}
    assert shown == {OWN: jobs[OWN], FOREIGN: None, MISSING: None}
    foreign = service.client.get("/v1/jobs", params={"model": FOREIGN}, headers=key)
    assert foreign.status_code == 404


def test_a_refusal_comes_before_the_body_is_read(service: Service) -> None:
    viewer = service.key(Role.VIEWER)
    for body in ({"content": "{", "headers": viewer}, {"data": {"a": "b"}, "headers": viewer}):
        assert service.client.post("/v1/datasets", **body).status_code == 403


def test_a_role_of_a_later_release_allows_nothing(service: Service) -> None:
    with service.platform.transactions() as work:
        work[Keys].add(a_key(role="steward"), sha256(b"pk_steward"))
        work.commit()
    for operation, _ in keyed(service):
        answer = ask(service, operation, "j", "m", {"Authorization": "Bearer pk_steward"})
        assert answer.status_code == 403, operation[1]


def test_requests_that_share_a_look_up_are_shown_only_what_each_may_see(
    service: Service, jobs: dict[str, str]
) -> None:
    lookup = VersionLookup(service.platform)
    elsewhere = Principal(name="elsewhere", role=Role.VIEWER, models=frozenset())

    async def ask() -> list[Any]:
        asking = (COMMAND_LINE, elsewhere, COMMAND_LINE)
        finds = (lookup.find("own:1", principal) for principal in asking)
        return await asyncio.gather(*finds, return_exceptions=True)

    first, refused, last = asyncio.run(ask())
    assert first == last
    assert first.version.number == 1
    assert isinstance(refused, ModelNotFound)
