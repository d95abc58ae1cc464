"""Services that have lived a little, on databases of both kinds, to back up and restore."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from core.access.rows import Keys
from core.bootstrap import opened
from core.database.migrate import migrate
from core.datasets.manifests import Side
from core.fleet.rows import Heartbeats
from core.jobs.claim_rows import Counters
from core.jobs.rows import Jobs
from core.platform import Platform
from core.registry.promote import promote, roll_back
from core.settings import Settings
from core.upkeep.rows import ArtifactRoots
from tests.support.factories import (
    NOW,
    TESTER,
    a_job,
    a_job_of_no_model,
    a_key,
    an_image,
    digest,
    pixels_on,
)
from tests.support.scene import Scene
from tests.support.storage.databases import KINDS, Databases
from tests.support.webhooks import subscribed

BOTH = pytest.mark.parametrize("kind", KINDS, indirect=True)


class LivedServices:
    """Makes copies of a service that has lived a little, on either kind of database."""

    def __init__(self, folder: Path, databases: Databases) -> None:
        self._folder = folder
        self._databases = databases
        self._lived: dict[str, Settings] = {}

    def copy(self, kind: str, home: Path) -> Settings:
        """Return a copy of a service with a bit of everything, which no process has open."""
        if kind not in self._lived:
            first = Settings(home=self._folder / kind, database_url=self._databases.fresh(kind))
            migrate(first.database)
            with opened(first) as platform:
                live_through(platform)
            self._lived[kind] = first
        first = self._lived[kind]
        shutil.copytree(first.home, home)
        return Settings(home=home, database_url=self._databases.copy(first.database))


def live_through(platform: Platform) -> Scene:
    """Make a bit of everything: suites, updates, verdicts, moves of aliases, jobs of all kinds."""
    scene = Scene(platform.transactions, platform.artifacts)
    subscribed(platform.transactions)
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", offset=10, each=1))
    for offset in (0, 4):
        scene.learn(model, scene.frozen("cat", "dog", offset=offset, each=1))
    asked = {"model": model.name, "alias": "production", "expected_revision": None}
    promote(platform, TESTER, version=2, reason="a step back:\u2028é", override=True, **asked)
    roll_back(platform, TESTER, to=None, reason="for this test", **asked)
    waiting = scene.update(model, scene.frozen("owl", "elk", offset=6, each=1))
    with platform.transactions() as work:
        held = work[Jobs].claim("w", 60, 3)
        work[Jobs].set_checkpoint(waiting.id, held.fence, platform.artifacts.put(b"half an update"))
        work[Jobs].add(a_job(model, retry_of=waiting.id).fail({"code": "x", "at": 0.1}, NOW))
        work[Jobs].add(a_job_of_no_model("dataset:ds_1"))
        work[Heartbeats].record("w", {})
        work[Keys].add(a_key(created_at=NOW + timedelta(microseconds=1)), digest("key"))
        work[Counters].add("jobs", {"type": "update"}, 0.1)
        work.commit()
        named = work[ArtifactRoots].images()
    for pixels in {*pixels_on(Side.TRAIN, 20), *pixels_on(Side.HOLDOUT, 20)}:
        if an_image(pixels).artifact in named:
            platform.artifacts.put(f"artifact of {pixels}".encode())
    return scene
