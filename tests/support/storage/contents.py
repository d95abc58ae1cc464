"""The rows and bytes of a service, to compare with those of another."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from core.artifacts.store import Artifacts
from core.backup.backup import Outcome
from core.backup.dump import LEFT_OUT
from core.database.engine import open_engine
from core.database.migrate import METADATA
from core.settings import Settings
from core.values import Digest


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows that a back-up has to bring back."""
    engine = open_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: connection.execute(select(table).order_by(*table.primary_key)).mappings()
            for table in METADATA.sorted_tables
            if table.name not in LEFT_OUT
        }
        rows = {name: [dict(row) for row in result] for name, result in found.items()}
    engine.dispose()
    return rows


def bytes_of(artifacts: Artifacts) -> dict[Digest, bytes]:
    return {name: artifacts.get(name) for name in artifacts.digests()}


def file_of(settings: Settings, name: Digest) -> Path:
    return settings.artifacts / name[:2] / name[2:]


def lost_of(outcome: Outcome) -> tuple[set[Digest], set[Digest]]:
    return outcome.artifacts.damaged, outcome.artifacts.missing
