"""A service that asks a stand-in for the inference process about the model `demo`."""

from pathlib import Path

import pytest

from core.gate.rules import Verdict
from core.registry.versions import Model
from core.settings import Settings
from tests.support.api.oracle import Oracle, settings_with
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy for all that leaves this machine, which is down."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")


@pytest.fixture
def settings(home: Path, oracle: Oracle, request: pytest.FixtureRequest) -> Settings:
    """Settings that lead to the stand-in; a parameter changes others."""
    return settings_with(oracle, home).model_copy(update=getattr(request, "param", {}))


@pytest.fixture
def model(service: Service) -> Model:
    """The model `demo`: a root that is live, and version 2 that has learned two classes."""
    made = a_root(service.platform)
    a_candidate(service.platform, made, verdict=Verdict.PASSED, teaches=("boot", "bag"))
    return made
