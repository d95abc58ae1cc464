"""docker-compose.yml against Compose's own schema, and against rule 18."""

import json
from typing import Any

import pytest

from core.jobs.orders import Queue
from core.settings import Settings
from tests.support.deployment import compose

GIVEN = {
    "COMPOSE_PROFILES": "cpu",
    "PERENNIAL_ADMIN_KEY": "an-admin-key-of-some-length",
    "PERENNIAL_INFERENCE_KEY": "an-inference-key-of-some-length",
    "POSTGRES_PASSWORD": "one",
    "REDIS_PASSWORD": "two",
    "S3_ACCESS_KEY": "three",
    "S3_SECRET_KEY": "four",
}

SECRETS = GIVEN.keys() - {"COMPOSE_PROFILES"}

OURS = {"api", "worker", "worker-gpu", "worker-housekeeping", "inference", "migrate"}

WORKERS = {name for name in OURS if name.startswith("worker")}

SERVICES = sorted(compose.services(GIVEN))


def of(service: str) -> dict[str, Any]:
    return compose.services(GIVEN)[service]


def test_secrets_are_asked_for_and_have_no_default() -> None:
    asked = compose.asked()
    assert {name for name, (form, _) in asked.items() if form != "-"} == set(GIVEN)
    for missing in GIVEN:
        rest = {name: value for name, value in GIVEN.items() if name != missing}
        with pytest.raises(compose.Unset, match=missing):
            compose.read(rest)
    assert "secret" not in json.dumps({n: d for n, (f, d) in asked.items() if f == "-"}).lower()


def test_a_secret_goes_to_the_services_that_need_it_and_to_no_other() -> None:
    found = compose.services({name: f"the {name}" for name in GIVEN})
    assert {
        name: {service for service, said in found.items() if f"the {name}" in json.dumps(said)}
        for name in SECRETS
    } == {
        "PERENNIAL_ADMIN_KEY": {"api"},
        "PERENNIAL_INFERENCE_KEY": {"api", "inference"},
        "POSTGRES_PASSWORD": OURS | {"postgres"},
        "REDIS_PASSWORD": OURS | {"redis"},
        "S3_ACCESS_KEY": OURS | {"s3"},
        "S3_SECRET_KEY": OURS | {"s3"},
    }


def test_only_the_api_is_published_and_on_loopback_unless_asked_otherwise() -> None:
    ports = {name: of(name)["ports"] for name in SERVICES if "ports" in of(name)}
    assert ports == {"api": ["127.0.0.1:8750:8750"]}
    networks = compose.read()["networks"]
    assert networks["internal"] == {"internal": True}
    outward = {name for name in SERVICES if set(of(name)["networks"]) != {"internal"}}
    assert outward == {"api", *WORKERS}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_contained(service: str) -> None:
    found = of(service)
    assert found["read_only"] is True
    assert found["user"].split(":")[0] not in {"root", "0"}
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(found["deploy"]["resources"]["limits"])
    assert service == "migrate" or found["healthcheck"]["test"]
    assert found["restart"] == ("no" if service == "migrate" else "unless-stopped")
    assert ":" in found["image"] or service in OURS


def takers(profile: str) -> dict[str, set[str]]:
    """On which devices the workers of a profile take the jobs of each queue."""
    found: dict[str, set[str]] = {queue.value: set() for queue in Queue}
    for name in SERVICES:
        environment = of(name).get("environment", {})
        if "PERENNIAL_QUEUES" in environment and profile in of(name).get("profiles", [profile]):
            for queue in json.loads(environment["PERENNIAL_QUEUES"]):
                found[queue].add(environment.get("PERENNIAL_DEVICE", "cpu"))
    return found


@pytest.mark.parametrize(("profile", "updates_on"), [("gpu", "cuda"), ("cpu", "cpu")])
def test_every_queue_has_takers_and_beside_gpus_no_processor_takes_an_update(
    profile: str, updates_on: str
) -> None:
    assert takers(profile) == {"gpu": {updates_on}, "housekeeping": {"cpu"}}


@pytest.mark.parametrize("service", sorted(OURS))
def test_our_processes_read_every_variable_that_they_are_given(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = of(service)["environment"]
    ours = {name.removeprefix("PERENNIAL_").lower() for name in environment if "PEREN" in name}
    assert ours <= set(Settings.model_fields)
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    settings = Settings()
    assert settings.database.startswith("postgresql+psycopg://perennial:one@postgres")
    assert (settings.embedded, settings.migrate_on_start) == (False, False)


def test_no_worker_is_killed_by_docker_before_its_child_may_end() -> None:
    for service in WORKERS:
        grace_s = float(of(service)["environment"]["PERENNIAL_GRACE_SECONDS"])
        assert float(of(service)["stop_grace_period"].removesuffix("s")) > grace_s + 2
