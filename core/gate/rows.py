"""Rows of gate policies."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Row

from core.database.statements import find_named, insert_new, names_of, page_by_id
from core.database.tables import policies
from core.database.work import Rows
from core.errors import NameTaken, PolicyNotFound
from core.gate.rules import GatePolicy
from core.values import PolicyId


class Policies(Rows):
    """Rows of gate policies."""

    def add(self, policy: GatePolicy) -> None:
        """Store a policy. Raises NameTaken."""
        values = vars(policy)
        rules = {name: value for name, value in values.items() if name not in policies.c}
        kept = {name: value for name, value in values.items() if name in policies.c}
        if not insert_new(self._connection, policies, {**kept, "rules": rules}):
            raise NameTaken(name=policy.name)

    def get(self, reference: str) -> GatePolicy:
        """Return a policy by id or name. Raises PolicyNotFound."""
        row = find_named(self._connection, policies, reference)
        if row is None:
            raise PolicyNotFound(policy=reference)
        return _to_policy(row)

    def names(self, ids: Collection[PolicyId]) -> Mapping[str, str]:
        """Return the names of the policies with these ids."""
        return names_of(self._connection, policies, ids)

    def page(self, limit: int, after: str | None) -> Sequence[GatePolicy]:
        """Return a page of policies, oldest first; `after` is the last id of the previous page."""
        return [_to_policy(row) for row in page_by_id(self._connection, policies, limit, after)]


def _to_policy(row: Row[Any]) -> GatePolicy:
    kept = dict(row._mapping)
    rules = kept.pop("rules")
    pairs = tuple((one, other) for one, other in rules.pop("same_names"))
    return GatePolicy(**kept, **rules, same_names=pairs)
