"""The rows of models: versions, aliases, gate policies."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from core.domain.gate.policy import GatePolicy
from core.domain.registry.alias import Alias, AliasMove
from core.domain.registry.version import Model, Version
from core.domain.values import Digest, ModelId, PolicyId, SuiteId


class Policies(Protocol):
    def add(self, policy: GatePolicy) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> GatePolicy:
        """By id or name. Raises PolicyNotFound."""

    def names(self, ids: Collection[PolicyId]) -> Mapping[str, str]:
        """The names of those with these ids."""

    def page(self, limit: int, after: str | None) -> Sequence[GatePolicy]: ...


class Models(Protocol):
    def add(self, model: Model) -> None:
        """Raises NameTaken."""

    def get(self, reference: str) -> Model:
        """By id or name. Raises ModelNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Model]: ...

    def set_suites(self, model: ModelId, suites: Sequence[SuiteId]) -> None: ...

    def set_policy(self, model: ModelId, policy: PolicyId) -> None: ...


class Versions(Protocol):
    def next_number(self, model: ModelId) -> int:
        """The next version number, from a counter row locked until commit."""

    def add(self, version: Version) -> None: ...

    def save(self, version: Version) -> None:
        """Store status, verdict and report of an existing version."""

    def give_up_weights(self, model: ModelId, number: int, at: datetime) -> None:
        """Note that a version's weights may be collected from now on."""

    def get(self, model: ModelId, number: int, *, lock: bool = False) -> Version:
        """A version; with `lock` nobody else changes it before commit. Raises VersionNotFound."""

    def by_digest(self, model: ModelId, digest: Digest) -> Version:
        """The newest version with this digest. Raises VersionNotFound."""

    def page(self, model: ModelId, limit: int, after: int | None) -> Sequence[Version]:
        """Oldest first."""

    def all(self, model: ModelId) -> Sequence[Version]: ...


class Aliases(Protocol):
    def get(self, model: ModelId, name: str) -> Alias:
        """Raises AliasNotFound."""

    def find(self, model: ModelId, name: str) -> Alias | None: ...

    def all(self, *models: ModelId) -> Sequence[Alias]:
        """All aliases of these models; of every model if none is named."""

    def move(self, alias: Alias, row: AliasMove) -> None:
        """Write alias and history row if the stored revision is `alias.revision - 1`.

        Raises StaleRevision otherwise.
        """

    def history(self, model: ModelId, name: str) -> Sequence[AliasMove]:
        """Oldest first."""

    def overridden(self, model: ModelId) -> Collection[int]:
        """The versions that some alias of a model was moved to by override."""
