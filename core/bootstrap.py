"""Wire what the settings name: database, artifacts, clock and hooks, but never torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version

from core.access.rules import TokenVerifier
from core.archives.reader import ArchiveReader, S3Buckets
from core.archives.tables import TableReader
from core.artifacts.local import LocalArtifacts
from core.artifacts.s3 import S3Artifacts
from core.artifacts.s3_requests import SCHEME, S3Access, S3Location
from core.artifacts.store import Artifacts
from core.bundles.signing import Signatures
from core.database.engine import Limits
from core.database.schema import require_own
from core.database.work import Transactions
from core.datasets.version_rows import WILL_FILL, WILL_LEARN, WILL_READ
from core.engines.rows import artifacts_of_engines
from core.erasure.order import refuse_cancellation
from core.errors import DatabaseUnavailable, UnsafeConfiguration
from core.evaluation.rows import delete_evidence_of
from core.exports.rows import artifacts_of_exports, delete_exports_of
from core.images.sandbox import Limits as DecodingLimits
from core.images.sandbox import SandboxDecoder
from core.imports.rows import artifacts_of_uploads
from core.indexes.keep import obstacle_of_indexes, want
from core.indexes.rows import delete_indexes_of
from core.jobs.dataset_needs import will_embed, will_import, will_learn
from core.jobs.queue import ON_CANCEL
from core.platform import Platform
from core.registry.promote import OBSTACLES, ON_MOVE, ON_POSTPONED
from core.registry.rows import DELETE_WITH_MODEL
from core.registry.version_rows import DELETE_WITH_WEIGHTS
from core.settings import Settings
from core.tracing import Tracer, Untraced
from core.trials.rows import artifacts_of_samples, delete_trials_of
from core.trials.run import end_on_move
from core.upkeep.rows import NAMED_ARTIFACTS
from core.vectors.rows import artifacts_of_vectors, delete_vectors_of
from core.webhooks.deliver import HttpWebhookClient

# Wait for the next bytes of a bucket that is listed or read; both tries of a request take less than
# a lease.
IMPORT_READ_S = 10.0

ON_CANCEL.fill(refuse_cancellation)
ON_MOVE.fill(end_on_move)
OBSTACLES.fill(obstacle_of_indexes)
ON_POSTPONED.fill(want)
WILL_LEARN.fill(will_learn)
WILL_READ.fill(will_embed)
WILL_FILL.fill(will_import)
DELETE_WITH_MODEL.fill(
    delete_trials_of, delete_exports_of, delete_vectors_of, delete_evidence_of, delete_indexes_of
)
DELETE_WITH_WEIGHTS.fill(delete_exports_of, delete_vectors_of)
NAMED_ARTIFACTS.fill(
    artifacts_of_samples,
    artifacts_of_exports,
    artifacts_of_vectors,
    artifacts_of_uploads,
    artifacts_of_engines,
)


def build(settings: Settings) -> Platform:
    """Return the platform that every verb runs on; nothing is opened before its first use.

    A process that stalls within a transaction loses it, and with it the locks that keep its job
    from others, no later than the job's lease. Raises UnsafeConfiguration.
    """
    return Platform(
        settings=settings,
        transactions=Transactions(settings.database, limits=Limits(idle_s=settings.lease_seconds)),
        artifacts=artifacts_of(settings),
        clock=utc_now,
        tracer=tracer_of(settings),
    )


def close(platform: Platform) -> None:
    """Close what the platform has opened."""
    platform.transactions.close()
    if isinstance(platform.artifacts, S3Artifacts):
        platform.artifacts.close()
    platform.tracer.close()


@contextmanager
def opened(settings: Settings) -> Iterator[Platform]:
    """Build the platform and close it at the end. Raises UnsafeConfiguration."""
    platform = build(settings)
    try:
        yield platform
    finally:
        close(platform)


def artifacts_of(settings: Settings) -> Artifacts:
    """Return the artifact store that the settings name. Raises UnsafeConfiguration."""
    url = settings.artifacts_url
    if url.startswith(SCHEME):
        place = S3Location.of(
            url,
            scratch=settings.home,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
        )
        return S3Artifacts(place)
    if "://" in url:
        raise UnsafeConfiguration("PERENNIAL_ARTIFACTS_URL must be a folder or s3://BUCKET/PREFIX.")
    return LocalArtifacts(settings.artifacts)


def make_bucket(settings: Settings) -> bool:
    """Create the settings' S3 bucket if it is missing; return whether it was created.

    Raises UnsafeConfiguration or ArtifactsUnavailable.
    """
    artifacts = artifacts_of(settings)
    return isinstance(artifacts, S3Artifacts) and artifacts.make_bucket()


def migrate(settings: Settings) -> None:
    """Create the tables of an empty database. Safe to call from many processes at once.

    Raises UnsafeConfiguration if another version made the database.
    """
    from core.database import migrate as schema  # loads Alembic, for this alone

    schema.migrate(settings.database)


def require_own_database(settings: Settings) -> None:
    """Raise UnsafeConfiguration if another version made the database, which stays as it is.

    A database that does not respond is accepted: whoever uses it waits for it.
    """
    with suppress(DatabaseUnavailable):
        require_own(settings.database)


def decoder(settings: Settings, *, processes: int = 2) -> SandboxDecoder:
    """Return the decoder of untrusted images, which the caller must `close`."""
    limits = DecodingLimits(
        seconds=settings.decode_seconds,
        memory_bytes=settings.decode_memory_bytes,
        max_pixels=settings.max_pixels,
        stored_side=settings.stored_side,
    )
    return SandboxDecoder(limits, processes=processes)


def archive_reader(settings: Settings) -> ArchiveReader:
    """Return the reader of untrusted archives, and of objects in the buckets of the settings."""
    return ArchiveReader(import_buckets(settings), table_reader(settings))


def table_reader(settings: Settings) -> TableReader:
    """Return the reader of untrusted Parquet files."""
    return TableReader(
        folder=settings.home,
        seconds=settings.decode_seconds,
        memory_bytes=settings.decode_memory_bytes,
        file_bytes=settings.max_file_bytes,
    )


def signatures(settings: Settings) -> Signatures:
    """Return what signs and checks bundles with the settings' keys. Raises UnsafeConfiguration."""
    return Signatures(settings.signing_key.get_secret_value(), settings.trusted_keys)


def import_buckets(settings: Settings) -> S3Buckets:
    """Return the buckets that imports may read, which the caller should `close`."""
    return S3Buckets(
        {
            bucket.name: S3Access(
                endpoint=bucket.endpoint or None,
                region=bucket.region or None,
                access_key_id=bucket.access_key_id.get_secret_value() or None,
                secret_access_key=bucket.secret_access_key.get_secret_value() or None,
                read_s=IMPORT_READ_S,
            )
            for bucket in settings.import_buckets
        }
    )


def webhook_client(settings: Settings) -> HttpWebhookClient:
    """Return what sends webhooks, with the limits of the settings."""
    return HttpWebhookClient(
        seconds=settings.webhook_seconds, allow_private=settings.webhook_private
    )


def tracer_of(settings: Settings) -> Tracer:
    """Return what sends traces to the settings' collector, if they name one.

    Raises UnsafeConfiguration if OpenTelemetry, an extra of this package, is not installed, or
    refuses one of its variables.
    """
    if not settings.traces_url:
        return Untraced()
    try:
        from core.otlp import OtlpTracer
    except ImportError as error:
        raise UnsafeConfiguration(
            "PERENNIAL_TRACES_URL needs OpenTelemetry: install this package's extra `traces`."
        ) from error
    try:
        return OtlpTracer(settings.traces_url, version=version("perennial"))
    except (ValueError, RuntimeError) as error:
        raise UnsafeConfiguration(f"OpenTelemetry refuses a variable: {error}") from error


def token_verifier(settings: Settings) -> TokenVerifier | None:
    """Return what checks the tokens of the settings' issuer, None without an issuer."""
    if not settings.oidc_issuer:
        return None
    from core.access.oidc import IssuerKeys, OidcTokens

    return OidcTokens(
        IssuerKeys(settings.oidc_issuer),
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        leeway_s=settings.oidc_leeway_seconds,
    )


def keep_private() -> None:
    """Make new files of this process and its children accessible to their user only.

    The data folder holds hashes of keys, images and weights. Existing files keep their permissions.
    """
    os.umask(0o077)


def utc_now() -> datetime:
    """Return the current time in UTC: the service's clock."""
    return datetime.now(UTC)
