"""Look-ups of versions that requests share: what each is shown, and what it waits for."""

import asyncio
from threading import Event
from typing import Any

import pytest

from api.http.lookups import VersionLookup
from core.errors import ModelNotFound
from core.gate.rules import Verdict
from core.principal import COMMAND_LINE, Principal, Role
from core.registry.rows import Versions
from core.values import Digest
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import EMBEDDED, Service

pytestmark = EMBEDDED  # tests/api/inference/test_classify.py asks both databases


@pytest.fixture
def digest(service: Service) -> Digest:
    """The digest of version 1 of the model `demo`, which has two."""
    model = a_root(service.platform)
    a_candidate(service.platform, model, verdict=Verdict.PASSED)
    with service.platform.transactions(read_only=True) as work:
        return work[Versions].get(model.id, 1).digest


@pytest.mark.usefixtures("digest")
def test_each_key_is_shown_only_what_it_may_see(service: Service) -> None:
    lookup = VersionLookup(service.platform)
    elsewhere = Principal(name="elsewhere", role=Role.VIEWER, models=frozenset())

    async def ask() -> list[Any]:
        asking = (COMMAND_LINE, elsewhere, COMMAND_LINE)
        finds = (lookup.find("demo:2", principal) for principal in asking)
        return await asyncio.gather(*finds, return_exceptions=True)

    first, refused, last = asyncio.run(ask())
    assert first == last
    assert first.version.number == 2
    assert isinstance(refused, ModelNotFound)


def test_weights_that_are_slow_to_read_delay_nobody_who_asks_another_version(
    service: Service, digest: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, read = Event(), Event(), service.platform.artifacts.get

    def get(wanted: Digest, *rest: Any) -> bytes:
        if wanted == digest:
            begun.set()
            assert go.wait(30)
        return read(wanted, *rest)

    monkeypatch.setattr(service.platform.artifacts, "get", get)
    lookup = VersionLookup(service.platform)

    async def ask() -> list[int]:
        slow = asyncio.create_task(lookup.find("demo:1", COMMAND_LINE))
        try:
            assert await asyncio.to_thread(begun.wait, 30)
            other = await asyncio.wait_for(lookup.find("demo:2", COMMAND_LINE), 20)
        finally:
            go.set()
        return [other.version.number, (await slow).version.number]

    assert asyncio.run(ask()) == [2, 1]
