"""Look-ups of versions that requests share: what each is shown, and what it waits for."""

import asyncio
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
