"""Services that have lived a little, on databases of both kinds, to back up and restore."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from core.adapters.database.migrate import migrate
from core.bootstrap import build, close
from core.domain.datasets.split import Side
from core.domain.jobs.job import JobStatus
from core.ports import Platform
from core.settings import Settings
from core.use_cases.registry.promote import promote
from core.use_cases.registry.roll_back import roll_back
from devtools.servers.postgres import run_sql
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
from tests.support.webhooks import subscribed

BOTH = pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)


@contextmanager
def opened(settings: Settings) -> Iterator[Platform]:
    """Yield the platform of a service, closed at the end."""
    platform = build(settings)
    try:
        yield platform
    finally:
        close(platform)


class Databases:
    """Makes databases of both kinds, and copies of a service that has lived a little."""

    def __init__(self, folder: Path, server: Callable[[], str]) -> None:
        self._folder = folder
        self._server = server  # PostgreSQL's, started when it is needed
        self._numbers = itertools.count(1)
        self._lived: dict[str, Settings] = {}

    def fresh(self, kind: str) -> str:
        """Return the URL of an empty database."""
        name = f"backup{next(self._numbers)}"
        if kind == "sqlite":
            return f"sqlite:///{self._folder / name}.db"
        run_sql(self._server(), "postgres", f"CREATE DATABASE {name}")
        return self._server().format(name=name)

    def lived(self, kind: str, home: Path) -> Settings:
        """Return a copy of a service with a bit of everything, which no process has open."""
        if kind not in self._lived:
            first = Settings(home=self._folder / kind, database_url=self.fresh(kind))
            migrate(first.database)
            with opened(first) as platform:
                live_through(platform)
            self._lived[kind] = first
        first = self._lived[kind]
        shutil.copytree(first.home, home)
        return Settings(home=home, database_url=self._copy(first.database, kind))

    def _copy(self, url: str, kind: str) -> str:
        copy = self.fresh("sqlite")
        if kind == "sqlite":
            shutil.copy(url.removeprefix("sqlite:///"), copy.removeprefix("sqlite:///"))
            return copy
        name = f"backup{next(self._numbers)}"
        template = make_url(url).database
        run_sql(self._server(), "postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return self._server().format(name=name)


def live_through(platform: Platform) -> Scene:
    """Make a bit of everything: suites, updates, verdicts, moves of aliases, jobs of all kinds."""
    scene = Scene(platform.transactions, platform.artifacts)
    subscribed(platform.transactions)
    model = scene.model()
    scene.suite(model, scene.frozen("hat", "bag", offset=10, each=1))
    for offset in (0, 4):
        scene.update(model, scene.frozen("cat", "dog", offset=offset, each=1))
        assert scene.run().status is JobStatus.SUCCEEDED
    asked = {"model": model.name, "alias": "production", "expected_revision": None}
    promote(platform, TESTER, version=2, reason="a step back:\u2028é", override=True, **asked)
    roll_back(platform, TESTER, to=None, reason="for this test", **asked)
    waiting = scene.update(model, scene.frozen("owl", "elk", offset=6, each=1))
    with platform.transactions() as work:
        held = work.jobs.claim("w", 60, 3)
        assert held is not None
        work.jobs.set_checkpoint(waiting.id, held.fence, platform.artifacts.put(b"half an update"))
        work.jobs.add(a_job(model, retry_of=waiting.id).fail({"code": "x", "at": 0.1}, NOW))
        work.jobs.add(a_job_of_no_model("dataset:ds_1"))
        work.heartbeats.record("w", {})
        work.keys.add(a_key(created_at=NOW + timedelta(microseconds=1)), digest("key"))
        work.counters.add("jobs", {"type": "update"}, 0.1)
        work.commit()
        named = work.references.images()
    for pixels in {*pixels_on(Side.TRAIN, 20), *pixels_on(Side.HOLDOUT, 20)}:
        if an_image(pixels).artifact in named:
            platform.artifacts.put(f"artifact of {pixels}".encode())
    return scene
