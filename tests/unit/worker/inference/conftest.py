"""The inference process over a store and a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from core.bootstrap import migrate, opened
from core.platform import Platform
from core.registry.versions import Weights
from core.settings import Settings
from core.values import Digest
from tests.support.learning.tiny_clip import stored, tiny_clip
from worker.inference.server import make_app

KEY = "pk_that-the-api-shows"

SHOWN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    settings = Settings(home=tmp_path, inference_key=SecretStr(KEY))
    migrate(settings)
    with opened(settings) as platform:
        yield platform


@pytest.fixture
def client(platform: Platform) -> Iterator[TestClient]:
    with TestClient(make_app(platform), headers=SHOWN) as client:
        yield client


def weights_of(platform: Platform, seed: int) -> Weights:
    """A version's weights in the artifact store."""
    return stored(tiny_clip(seed), platform.artifacts)


def store(platform: Platform, seed: int) -> Digest:
    """The digest of the same."""
    return weights_of(platform, seed).digest
