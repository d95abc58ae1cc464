"""Transactions, and the platform that use cases share."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from core.domain.access.principal import Principal
from core.ports.access import AuditTrail, Idempotency, Keys, Sessions
from core.ports.artifacts import ArtifactRoots, Artifacts
from core.ports.datasets import Datasets, Suites, Thumbnails
from core.ports.erasures import Erasures
from core.ports.exports import Exports
from core.ports.imports import Uploads
from core.ports.jobs import Jobs
from core.ports.learning import AnswerCache
from core.ports.operations import Counters, Gauges, Heartbeats
from core.ports.registry import Aliases, Models, Policies, Versions
from core.ports.tracing import Tracer, Untraced
from core.ports.trials import Predictions, Trials, TrialSamples
from core.ports.vectors import IndexReports, Vectors
from core.ports.webhooks import Outbox, Webhooks
from core.settings import Settings

Clock = Callable[[], datetime]  # aware, UTC


class UnitOfWork(Protocol):
    """One transaction: entering begins it, `commit` ends it, leaving without it rolls back.

    The models and jobs that its principal may not touch are not there.
    """

    principal: Principal
    datasets: Datasets
    suites: Suites
    thumbnails: Thumbnails
    policies: Policies
    models: Models
    versions: Versions
    aliases: Aliases
    jobs: Jobs
    idempotency: Idempotency
    answers: AnswerCache
    references: ArtifactRoots
    keys: Keys
    sessions: Sessions
    audit: AuditTrail
    heartbeats: Heartbeats
    counters: Counters
    gauges: Gauges
    webhooks: Webhooks
    outbox: Outbox
    erasures: Erasures
    uploads: Uploads
    exports: Exports
    vectors: Vectors
    index_reports: IndexReports
    trials: Trials
    predictions: Predictions
    samples: TrialSamples

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def commit(self) -> None: ...


class Transactions(Protocol):
    """Opens transactions: `with transactions() as work: ...; work.commit()`."""

    def __call__(self, *, read_only: bool = False) -> UnitOfWork:
        """Return a transaction not yet begun; one that is `read_only` never waits for a writer."""

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return what opens transactions of this principal; without it they are the service's."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The dependencies of every use case; `core.bootstrap.build` makes one."""

    settings: Settings
    transactions: Transactions
    artifacts: Artifacts
    clock: Clock
    tracer: Tracer = field(default_factory=Untraced)

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return the platform whose transactions are this principal's."""
        return replace(self, transactions=self.transactions.on_behalf_of(principal))
