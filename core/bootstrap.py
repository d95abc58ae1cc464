"""Wire the adapters to the ports: database, artifacts and clock. Never torch."""

from datetime import UTC, datetime

from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.database import migrate as schema
from core.adapters.database.unit_of_work import SqlTransactions
from core.adapters.images.sandbox import SandboxDecoder
from core.ports import Platform
from core.settings import Settings


def build(settings: Settings) -> Platform:
    """What every use case stands on; nothing is opened before its first use."""
    return Platform(
        settings=settings,
        transactions=SqlTransactions(settings.database),
        artifacts=LocalArtifacts(settings.artifacts),
        clock=utc_now,
    )


def close(platform: Platform) -> None:
    """Give back what `build` opened since."""
    if isinstance(platform.transactions, SqlTransactions):
        platform.transactions.close()


def migrate(settings: Settings) -> None:
    """Bring the database to the newest schema; safe from many processes at once."""
    schema.migrate(settings.database)


def decoder(settings: Settings, *, processes: int = 2) -> SandboxDecoder:
    """The decoder of untrusted images; `close` it at the end."""
    return SandboxDecoder(
        processes=processes,
        seconds=settings.decode_seconds,
        memory_bytes=settings.decode_memory_bytes,
        max_pixels=settings.max_pixels,
        stored_side=settings.stored_side,
    )


def utc_now() -> datetime:
    """The clock of the service."""
    return datetime.now(UTC)
