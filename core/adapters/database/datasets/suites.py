"""Suites and the images that they hold."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert

from core.adapters.database.datasets.thumbnails import groups_in
from core.adapters.database.statements import find_named, insert_new, names_of, page_by_id
from core.adapters.database.tables.suites import suite_images, suites
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.suite import Suite, SuiteKind
from core.domain.recipes.prompt import PromptTemplate
from core.domain.values import Digest, SuiteId
from core.errors import NameTaken, SuiteNotFound


class SqlSuites:
    """The `Suites` port over SQL."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, suite: Suite, manifest: Manifest) -> None:
        """Store a suite. Raises NameTaken."""
        values = {
            **vars(suite),
            "classes": list(suite.classes),
            "prompt": suite.prompt.text,
        }
        if not insert_new(self._connection, suites, values):
            raise NameTaken(name=suite.name)
        pixels = [{"pixels": entry.pixels, "suite": suite.id} for entry in manifest.entries]
        if pixels:
            self._connection.execute(insert(suite_images), pixels)

    def get(self, reference: str) -> Suite:
        """Return a suite by id or name. Raises SuiteNotFound."""
        row = find_named(self._connection, suites, reference)
        if row is None:
            raise SuiteNotFound(suite=reference)
        return _to_suite(row)

    def names(self, ids: Collection[SuiteId]) -> Mapping[str, str]:
        """Return the names of the suites with these ids."""
        return names_of(self._connection, suites, ids)

    def page(self, limit: int, after: str | None) -> Sequence[Suite]:
        """Return a page of suites, oldest first; `after` is the last id of the previous page."""
        return [_to_suite(row) for row in page_by_id(self._connection, suites, limit, after)]

    def contains(self, groups: Collection[Digest]) -> set[Digest]:
        """Return the groups of which any suite holds an image."""
        return groups_in(self._connection, suite_images.c.pixels, groups)


def _to_suite(row: Row[Any]) -> Suite:
    return Suite(
        id=row.id,
        name=row.name,
        kind=SuiteKind(row.kind),
        manifest=row.manifest,
        classes=tuple(row.classes),
        images=row.images,
        prompt=PromptTemplate(row.prompt),
        created_at=row.created_at,
    )
