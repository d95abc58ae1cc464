"""Wire the adapters to the ports: database, artifacts and clock. Never torch."""

import os
from datetime import UTC, datetime

from core.adapters.artifacts.local import LocalArtifacts
from core.adapters.artifacts.s3 import S3Artifacts
from core.adapters.artifacts.s3_client import SCHEME, S3Place
from core.adapters.database import migrate as schema
from core.adapters.database.engine import Limits
from core.adapters.database.unit_of_work import SqlTransactions
from core.adapters.images.sandbox import SandboxDecoder
from core.errors import UnsafeConfiguration
from core.ports import Artifacts, Platform
from core.settings import Settings


def build(settings: Settings) -> Platform:
    """What every use case stands on; nothing is opened before its first use.

    A process that falls silent within a transaction loses it, and with it the locks that keep its
    job from others, no later than the job's lease. Raises UnsafeConfiguration.
    """
    return Platform(
        settings=settings,
        transactions=SqlTransactions(
            settings.database, limits=Limits(idle_s=settings.lease_seconds)
        ),
        artifacts=artifacts_of(settings),
        clock=utc_now,
    )


def close(platform: Platform) -> None:
    """Give back what `build` opened since."""
    if isinstance(platform.transactions, SqlTransactions):
        platform.transactions.close()
    if isinstance(platform.artifacts, S3Artifacts):
        platform.artifacts.close()


def artifacts_of(settings: Settings) -> Artifacts:
    """The artifact store that the settings name. Raises UnsafeConfiguration."""
    url = settings.artifacts_url
    if url.startswith(SCHEME):
        place = S3Place.of(
            url,
            scratch=settings.home,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
        )
        return S3Artifacts(place)
    if "://" in url:
        raise UnsafeConfiguration("PERENNIAL_ARTIFACTS_URL is a folder or s3://BUCKET/PREFIX.")
    return LocalArtifacts(settings.artifacts)


def make_bucket(settings: Settings) -> bool:
    """Make the S3 bucket that the settings name unless there is one; whether it was made.

    Raises UnsafeConfiguration or ArtifactsUnavailable.
    """
    artifacts = artifacts_of(settings)
    return isinstance(artifacts, S3Artifacts) and artifacts.make_bucket()


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


def keep_private() -> None:
    """Let what this process and its children write be read by their user alone.

    For the data folder holds hashes of keys, images and weights. What is there already keeps its
    rights.
    """
    os.umask(0o077)


def utc_now() -> datetime:
    """The clock of the service."""
    return datetime.now(UTC)
