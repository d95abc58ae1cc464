"""The platform: what every verb of a room shares."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from core.artifacts.store import Artifacts
from core.database.work import Transactions
from core.principal import Principal
from core.settings import Settings
from core.tracing import Tracer, Untraced

Clock = Callable[[], datetime]  # aware, UTC


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The dependencies of every verb; `core.bootstrap.build` makes one."""

    settings: Settings
    transactions: Transactions
    artifacts: Artifacts
    clock: Clock
    tracer: Tracer = field(default_factory=Untraced)

    def on_behalf_of(self, principal: Principal) -> Self:
        """Return the platform whose transactions are this principal's."""
        return replace(self, transactions=self.transactions.on_behalf_of(principal))
