"""One transaction over all tables."""

from copy import copy
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import TimeoutError as PoolExhausted

from core import ports
from core.access.rows import SqlKeys, SqlSessions
from core.audit.rows import SqlAuditTrail
from core.audit.rules import SERVICE, Principal
from core.database.engine import Limits, begin_reading, open_engine
from core.database.idempotency import SqlIdempotency
from core.datasets.list_rows import CountCache, SqlThumbnails, ThumbnailCache
from core.datasets.rows import SqlDatasets
from core.datasets.version_rows import SqlSuites
from core.erasure.rows import SqlErasures
from core.errors import DatabaseUnavailable
from core.evaluation.rows import SqlAnswerCache
from core.exports.rows import SqlExports
from core.fleet.rows import SqlHeartbeats
from core.gate.rows import SqlPolicies
from core.imports.rows import SqlUploads
from core.jobs.claim_rows import SqlCounters
from core.jobs.rows import SqlJobs
from core.operations.rows import SqlGauges
from core.outbox.rows import SqlOutbox, SqlWebhooks
from core.registry.alias_rows import SqlAliases
from core.registry.rows import SqlModels, SqlVersions
from core.trials.rows import SqlPredictions, SqlTrials, SqlTrialSamples
from core.upkeep.rows import SqlArtifactRoots
from core.vectors.rows import SqlIndexReports, SqlVectors


@dataclass(frozen=True, kw_only=True)
class Caches:
    """The caches of a process, which read-only transactions fill."""

    thumbnails: ThumbnailCache = field(default_factory=ThumbnailCache)
    counts: CountCache = field(default_factory=CountCache)


class SqlTransactions:
    """Opens transactions on one database; safe to share between threads."""

    def __init__(self, url: str, *, limits: Limits | None = None) -> None:
        self._engine = open_engine(url, limits=limits)
        self._caches = Caches()
        self._principal = SERVICE

    def __call__(self, *, read_only: bool = False) -> "SqlUnitOfWork":
        """Return a transaction, not yet begun; a `read_only` one never waits for a writer."""
        # A writer may read rows of its own that are rolled back, so its reads must not be cached.
        caches = self._caches if read_only else Caches()
        return SqlUnitOfWork(self._engine, caches, read_only=read_only, principal=self._principal)

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return what opens this principal's transactions, over the same connections."""
        theirs = copy(self)
        theirs._principal = principal
        return theirs

    def close(self) -> None:
        """Close the pooled connections."""
        self._engine.dispose()


class SqlUnitOfWork:
    """One transaction: entering begins it, `commit` ends it, leaving without commit rolls back."""

    principal: Principal
    datasets: ports.Datasets
    suites: ports.Suites
    thumbnails: ports.Thumbnails
    policies: ports.Policies
    models: ports.Models
    versions: ports.Versions
    aliases: ports.Aliases
    jobs: ports.Jobs
    idempotency: ports.Idempotency
    answers: ports.AnswerCache
    references: ports.ArtifactRoots
    keys: ports.Keys
    sessions: ports.Sessions
    audit: ports.AuditTrail
    heartbeats: ports.Heartbeats
    counters: ports.Counters
    gauges: ports.Gauges
    webhooks: ports.Webhooks
    outbox: ports.Outbox
    erasures: ports.Erasures
    uploads: ports.Uploads
    exports: ports.Exports
    vectors: ports.Vectors
    index_reports: ports.IndexReports
    trials: ports.Trials
    predictions: ports.Predictions
    samples: ports.TrialSamples

    def __init__(
        self,
        engine: Engine,
        caches: Caches,
        *,
        read_only: bool,
        principal: Principal = SERVICE,
    ) -> None:
        self.principal = principal
        self._engine = engine
        self._caches = caches
        self._read_only = read_only
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        """Begin the transaction. Raises DatabaseUnavailable."""
        try:
            connection = self._engine.connect()
        except PoolExhausted as error:
            raise DatabaseUnavailable from error
        self._connection = connection
        try:
            if self._read_only:
                begin_reading(connection)
            else:
                connection.begin()
        except BaseException:
            connection.close()
            raise
        self.datasets = SqlDatasets(connection, self._caches.counts)
        self.suites = SqlSuites(connection)
        self.thumbnails = SqlThumbnails(connection, self._caches.thumbnails)
        self.policies = SqlPolicies(connection)
        self.models = SqlModels(connection, self.principal.models)
        self.versions = SqlVersions(connection)
        self.aliases = SqlAliases(connection)
        self.jobs = SqlJobs(connection, self.principal.models)
        self.idempotency = SqlIdempotency(connection)
        self.answers = SqlAnswerCache(connection)
        self.references = SqlArtifactRoots(connection)
        self.keys = SqlKeys(connection)
        self.sessions = SqlSessions(connection)
        self.audit = self._audit = SqlAuditTrail(connection)
        self.heartbeats = SqlHeartbeats(connection)
        self.counters = SqlCounters(connection)
        self.gauges = SqlGauges(connection)
        self.webhooks = SqlWebhooks(connection)
        self.outbox = SqlOutbox(connection)
        self.erasures = SqlErasures(connection)
        self.uploads = SqlUploads(connection, self.principal.name)
        self.exports = SqlExports(connection)
        self.vectors = SqlVectors(connection)
        self.index_reports = SqlIndexReports(connection)
        self.trials = SqlTrials(connection)
        self.predictions = SqlPredictions(connection)
        self.samples = SqlTrialSamples(connection)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Roll back what was not committed and return the connection to the pool."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def commit(self) -> None:
        """Write its audit events and commit the transaction. Raises DatabaseUnavailable."""
        if self._connection is None:
            raise RuntimeError("commit outside its transaction")
        self._audit.flush()
        self._connection.commit()
