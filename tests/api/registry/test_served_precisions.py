"""A version that is not in fp32 goes live by hand only if the inference processes can serve it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.gate.rules import Verdict
from core.principal import Role
from core.registry.versions import ServingPrecision, Version
from core.settings import Settings
from devtools.ports import free_port
from tests.support.api.browsing import browser_of
from tests.support.api.oracle import Oracle, an_oracle, settings_with
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service, code_of

PRODUCTION = "/v1/models/demo/aliases/production"
FORM = "/ui/models/demo/aliases/production/promotion"
AWAY = f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def other() -> Iterator[Oracle]:
    """A second replica."""
    with an_oracle() as made:
        yield made


@pytest.fixture
def settings(home: Path, oracle: Oracle, other: Oracle) -> Settings:
    other.forget()
    found = settings_with(oracle, home)
    return found.model_copy(update={"inference_url": f"{oracle.url} {other.url}"})


@pytest.fixture
def converted(service: Service) -> Version:
    """The model `demo`: 1 is live, 2 passed and is in bf16, 3 passed and is in fp32."""
    model = a_root(service.platform)
    passed = Verdict.PASSED
    made = a_candidate(service.platform, model, verdict=passed, precision=ServingPrecision.BF16)
    a_candidate(service.platform, model, verdict=passed)
    return made


def put(service: Service, version: int) -> tuple[int, str]:
    body = {"version": version, "override": True, "reason": "now"}
    answer = service.client.put(PRODUCTION, json=body, headers={"If-Match": "*"})
    return code_of(answer) if answer.status_code != 200 else (200, str(answer.json()["version"]))


def test_a_version_that_one_replica_cannot_compute_does_not_go_live(
    service: Service, converted: Version, oracle: Oracle, other: Oracle
) -> None:
    other.unable = {converted.digest}
    admin = browser_of(service, Role.ADMIN)
    with service.untouched():
        assert put(service, 2) == (503, "engine_unavailable")
        fields = {"version": "2", "revision": "1", "reason": "now", "override": "on"}
        refused = admin.send(FORM, **fields)
        assert refused.status_code == 503
        told = (
            "An inference process cannot serve version 2 in bf16: It takes instructions for bf16."
        )
        assert told in refused.text
    other.forget()
    oracle.forget()
    assert put(service, 2) == (200, "2")
    assert [one.asked["digest"] for one in (oracle, other)] == [converted.digest] * 2


def test_a_version_in_fp32_goes_live_without_asking(
    service: Service, converted: Version, oracle: Oracle, other: Oracle
) -> None:
    assert put(service, 3) == (200, "3")
    assert oracle.requests == other.requests == []


@pytest.mark.parametrize("url", [AWAY, "{} " + AWAY], ids=["alone", "beside another"])
def test_a_process_that_does_not_answer_keeps_a_version_in_bf16_from_going_live(
    service: Service, converted: Version, oracle: Oracle, url: str
) -> None:
    here = service.services.inference
    here.close()
    settings = service.settings.model_copy(update={"inference_url": url.format(oracle.url)})
    object.__setattr__(service.services, "inference", type(here)(settings))
    with service.untouched():
        assert put(service, 2) == (503, "inference_unavailable")
    assert put(service, 3) == (200, "3")
