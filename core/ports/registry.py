"""Ports for models, versions, aliases and gate policies."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from core.domain.gate.policy import GatePolicy
from core.domain.registry.alias import Alias, AliasMove, MoveKind
from core.domain.registry.version import Model, Version
from core.domain.values import DatasetId, Digest, ErasureId, ModelId, PolicyId, SuiteId


class Policies(Protocol):
    def add(self, policy: GatePolicy) -> None:
        """Add a policy. Raises NameTaken."""

    def get(self, reference: str) -> GatePolicy:
        """Return a policy by id or name. Raises PolicyNotFound."""

    def names(self, ids: Collection[PolicyId]) -> Mapping[str, str]:
        """Return the names of policies by id."""

    def page(self, limit: int, after: str | None) -> Sequence[GatePolicy]: ...


class Models(Protocol):
    def add(self, model: Model) -> None:
        """Add a model. Raises NameTaken."""

    def get(self, reference: str) -> Model:
        """Return a model by id or name. Raises ModelNotFound."""

    def ids_of(self, names: Collection[str]) -> Collection[ModelId]:
        """Return the ids of the models that have one of these names; others are left out."""

    def page(self, limit: int, after: str | None) -> Sequence[Model]: ...

    def taught(self, datasets: Collection[DatasetId]) -> Mapping[DatasetId, Sequence[str]]:
        """Return the names of the models that learned from each of some datasets."""

    def judged(
        self, by: Collection[SuiteId | PolicyId]
    ) -> Mapping[SuiteId | PolicyId, Sequence[str]]:
        """Return the names of the models that each of some suites and policies judges."""

    def lock(self, model: ModelId) -> None:
        """Keep others from adding jobs and versions to a model. Raises ModelNotFound."""

    def lock_all(self) -> Sequence[Model]:
        """Return all models, and keep others from adding versions to any."""

    def remove(self, model: ModelId) -> None:
        """Delete a locked model with its versions, aliases, their history, and its jobs."""

    def set_suites(self, model: ModelId, suites: Sequence[SuiteId]) -> None: ...

    def set_policy(self, model: ModelId, policy: PolicyId) -> None: ...


class Versions(Protocol):
    def next_number(self, model: ModelId) -> int:
        """Return the next version number, from a counter row that stays locked until commit."""

    def add(self, version: Version) -> None: ...

    def save(self, version: Version) -> None:
        """Update status, verdict and report of a version."""

    def remove(self, model: ModelId, number: int, at: datetime) -> None:
        """Delete a version, whose weights may be collected from now on.

        Its row stays, for the histories of aliases name it and its verdicts stay spent; nothing
        here returns it any more. Its exports are deleted too.
        """

    def release_weights(self, model: ModelId, number: int, at: datetime) -> None:
        """Record that a version's weights may be collected from now on, and delete its exports."""

    def mark(self, model: ModelId, number: int, erasure: ErasureId) -> None:
        """Record that images that a version learned from were erased, unless it is marked."""

    def replacement(self, model: ModelId, number: int) -> Version | None:
        """Return the newest version that replaces another one."""

    def get(self, model: ModelId, number: int, *, lock: bool = False) -> Version:
        """Return a version; `lock` keeps others from changing it before commit.

        Raises VersionNotFound, which says when a version was deleted.
        """

    def by_digest(self, model: ModelId, digest: Digest) -> Version:
        """Return the newest version with a digest. Raises VersionNotFound."""

    def page(self, model: ModelId, limit: int, after: int | None) -> Sequence[Version]:
        """Return a page of versions, oldest first."""

    def newest(self, model: ModelId) -> Version | None:
        """Return the version of a model with the highest number, or None without any."""

    def all(self, model: ModelId) -> Sequence[Version]: ...

    def numbers(self, model: ModelId, limit: int, after: int) -> Sequence[int]:
        """Return the numbers of a page of versions, oldest first."""

    def fit(self, model: ModelId, numbers: Collection[int]) -> Mapping[int, bool]:
        """Return whether each of some versions may be rolled back to without an override.

        Those that are deleted are left out. A version may not if the gate failed it, or if it
        learned from an image that was erased.
        """


class Aliases(Protocol):
    def get(self, model: ModelId, name: str, *, keep: bool = False) -> Alias:
        """Return an alias; `keep` keeps others from deleting it before commit.

        Raises AliasNotFound.
        """

    def find(self, model: ModelId, name: str, *, keep: bool = False) -> Alias | None: ...

    def lock(self, model: ModelId, name: str) -> Alias:
        """Return an alias to delete, once nobody keeps it. Raises AliasNotFound."""

    def all(self, *models: ModelId) -> Sequence[Alias]:
        """Return all aliases of some models, or of every model if none is given."""

    def move(self, alias: Alias, row: AliasMove) -> None:
        """Write the alias and its history row if the stored revision is `alias.revision - 1`.

        Raises StaleRevision otherwise.
        """

    def remove(self, row: AliasMove) -> None:
        """Delete a locked alias and write the last row of its history, which stays."""

    def last_revision(self, model: ModelId, name: str) -> int:
        """Return the revision of the last move of a name, 0 if there was none."""

    def history(self, model: ModelId, name: str, *, after: int = 0) -> Sequence[AliasMove]:
        """Return the moves of an alias after a revision, oldest first."""

    def newest_moves(self, model: ModelId, name: str, limit: int) -> Sequence[AliasMove]:
        """Return the newest moves of an alias, oldest first."""

    def kinds_of_moves(self, model: ModelId, name: str) -> Collection[MoveKind]:
        """Return the kinds of the moves that an alias has ever made."""

    def last_moves(self, *models: ModelId) -> Sequence[AliasMove]:
        """Return the move that each alias of some models is at, by model and name."""

    def overridden(self, model: ModelId) -> Collection[int]:
        """Return the versions that any alias of a model was moved to by override."""
