"""A service under test: a client, the platform below it, and an eye on what it keeps."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis
from starlette.testclient import TestClient

from api.app import create_app
from api.dependencies import Services
from core.access.keys import create_key
from core.database.migrate import METADATA
from core.jobs.broker import name_of
from core.jobs.orders import Queue
from core.platform import Platform
from core.principal import Role
from core.settings import Settings

KEY = "pk_a-key-that-only-tests-know-of"

# For what SQLite alone does, or what needs neither database nor broker.
EMBEDDED = pytest.mark.parametrize("back_end", ["embedded"], indirect=True)


def settings_of(home: Path, **changes: Any) -> Settings:
    """Settings without other processes."""
    given = {
        "home": home,
        "admin_key": SecretStr(KEY),
        "embedded": False,
        "migrate_on_start": False,
        "min_free_bytes": 1,
        "rate_requests": 1_000_000,
    }
    return Settings(**{**given, **changes})


@dataclass(frozen=True)
class Service:
    """What a test holds in its hands."""

    client: TestClient
    settings: Settings

    @property
    def services(self) -> Services:
        """What the routes stand on."""
        app: Any = self.client.app
        return app.state.services

    @property
    def platform(self) -> Platform:
        """What the verbs stand on."""
        return self.services.platform

    def key(self, role: Role, *models: str) -> dict[str, str]:
        """The header of a new key of this role, for some models or for all."""
        name = f"{role}-{secrets.token_hex(4)}"
        made = create_key(self.platform, name=name, role=role, models=models or None)
        return {"Authorization": f"Bearer {made[1]}"}

    def kept(self) -> dict[str, list[str]]:
        """Every row of every table, and every file beside the database.

        Messages are left out: they only say that a row is there, and may come a little after it. So
        are the last uses of keys, which are noted once a minute.
        """
        with self.platform.transactions(read_only=True) as work:
            # Without SQLAlchemy, which takes several times as long for a small table.
            cursor = work.connection.connection.cursor()
            rows = {}
            for name in METADATA.tables.keys() - {"key_uses"}:
                cursor.execute(f"SELECT * FROM {name}")
                rows[name] = sorted(map(str, cursor.fetchall()))
        files = (path for path in self.settings.home.rglob("*") if path.is_file())
        names = (str(path.relative_to(self.settings.home)) for path in files)
        beside = (name for name in names if not name.startswith(("perennial.db", "broker/")))
        return rows | {"files": sorted(beside)}

    def messages(self) -> int:
        """How many messages wait at the broker for a worker that trains."""
        if self.settings.broker.startswith("filesystem:"):
            return len(list((self.settings.home / "broker").glob("*.msg")))
        with Redis.from_url(self.settings.broker) as redis:
            return int(redis.llen(name_of(Queue.GPU)))

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Whatever happens within leaves no row and no file behind."""
        before = self.kept()
        yield
        assert self.kept() == before


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {KEY}"}
    with TestClient(app, headers=headers, raise_server_exceptions=False) as client:
        yield Service(client, settings)


def code_of(answer: Any) -> tuple[int, str]:
    """Status and code of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]
