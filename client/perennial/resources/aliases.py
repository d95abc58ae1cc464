# Written by `python -m devtools.sync_client` from perennial/aio/resources/aliases.py: change that.
"""Aliases: names of versions, such as `production`, that promotions and rollbacks move."""

from collections.abc import Iterator
from typing import cast

from perennial.connection import Connection
from perennial.replies import json_of
from perennial.request_parts import given, path_of
from perennial.types.aliases import Alias, Move

PRODUCTION = "production"


class Aliases:
    """The verbs of aliases.

    `expected_revision` is the revision of the alias that the decision to move it was based on:
    if the alias has moved since, the move is refused with `412 stale_revision`. Without it, the
    alias moves whatever its present revision is.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, model: str, alias: str = PRODUCTION) -> Alias:
        """Return an alias."""
        return cast(Alias, self._connection.get(_path(model, alias)))

    def list(self, model: str) -> Iterator[Alias]:
        """Yield the aliases of a model."""
        return self._connection.pages(path_of("models", model, "aliases"))

    def promote(
        self,
        model: str,
        version: int,
        *,
        alias: str = PRODUCTION,
        reason: str | None = None,
        override: bool | None = None,
        expected_revision: int | None = None,
    ) -> Alias:
        """Point an alias at a version, if the gate lets it.

        With `expected_revision=0` the alias is created, and must not exist. `override` promotes a
        version that the gate refuses; it needs a reason.
        """
        body = given(version=version, reason=reason, override=override)
        headers = {"If-None-Match": "*"} if expected_revision == 0 else _if_match(expected_revision)
        answer = self._connection.send("PUT", _path(model, alias), json=body, headers=headers)
        return cast(Alias, json_of(answer))

    def roll_back(
        self,
        model: str,
        *,
        alias: str = PRODUCTION,
        reason: str,
        to: int | None = None,
        override: bool | None = None,
        expected_revision: int | None = None,
    ) -> Alias:
        """Point an alias at the version that was live before, or at the earlier one `to`."""
        body = given(reason=reason, to=to, override=override)
        headers = _if_match(expected_revision)
        path = f"{_path(model, alias)}/rollback"
        return cast(Alias, self._connection.post(path, body, headers=headers))

    def delete(
        self,
        model: str,
        alias: str,
        *,
        reason: str | None = None,
        expected_revision: int | None = None,
    ) -> None:
        """Delete an alias; the history of its moves stays."""
        headers = _if_match(expected_revision)
        self._connection.delete(_path(model, alias), headers=headers, reason=reason)

    def history(self, model: str, alias: str = PRODUCTION) -> Iterator[Move]:
        """Yield the moves of an alias, oldest first."""
        return self._connection.pages(f"{_path(model, alias)}/history")


def _path(model: str, alias: str) -> str:
    return path_of("models", model, "aliases", alias)


def _if_match(revision: int | None) -> dict[str, str]:
    return {"If-Match": "*" if revision is None else f'"{revision}"'}
