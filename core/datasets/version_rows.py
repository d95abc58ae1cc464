"""Rows of frozen versions of datasets, of what needs these, and of suites."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.database.statements import insert_missing, insert_new, names_of
from core.database.tables import (
    dataset_versions,
    jobs,
    models,
    suite_images,
    suites,
    trained_images,
    vectors,
    versions,
)
from core.database.work import Rows
from core.datasets.manifests import Manifest, Side, validation_of
from core.datasets.rules import DatasetKind, DatasetRef, DatasetUses, DatasetVersion, Suite
from core.datasets.thumbnail_rows import groups_in
from core.errors import DatasetVersionNotFound, NameTaken, SuiteNotFound
from core.hooks import Hook
from core.values import DatasetId, Digest, ModelId, SuiteId, from_plain

# Uses of a dataset version: by versions of models and datasets, suites and unfinished jobs.

# Conditions on rows of jobs: which of them will learn from a version of a dataset, or read it, or
# fill the dataset. Without a number, any version is meant.
WILL_LEARN = Hook[[DatasetId, int | None], sa.ColumnElement[bool]]("jobs that learn from a dataset")
WILL_READ = Hook[[DatasetId, int | None], sa.ColumnElement[bool]]("jobs that read a dataset")
WILL_FILL = Hook[[DatasetId], sa.ColumnElement[bool]]("jobs that fill a dataset")


def is_trained_on(connection: sa.Connection, dataset: DatasetId) -> bool:
    """Return whether a version has learned from a dataset, or an unfinished job will."""
    has_trained = sa.select(versions.c.number).where(_has_learned(dataset, None))
    will_train = sa.select(jobs.c.position).where(sa.or_(*WILL_LEARN(dataset, None)))
    return bool(connection.scalar(sa.select(sa.or_(has_trained.exists(), will_train.exists()))))


def _has_learned(dataset: DatasetId, number: int | None) -> sa.ColumnElement[bool]:
    return any_of(
        dataset,
        number,
        (versions.c.dataset, versions.c.dataset_version),
        *(
            (named["dataset"].as_string(), named["version"].as_integer())
            for named in (versions.c.captions, versions.c.reference)
        ),
    )


def any_of(
    dataset: DatasetId, number: int | None, *columns: tuple[Any, Any]
) -> sa.ColumnElement[bool]:
    """Return the condition that some of the columns name a dataset, and the version if given."""
    return sa.or_(
        *(
            sa.and_(column == dataset, *([] if number is None else [numbers == number]))
            for column, numbers in columns
        )
    )


class DatasetVersionRows(Rows):
    """The part of `Datasets` that reads and writes versions."""

    def add_version(self, version: DatasetVersion, manifest: Manifest) -> None:
        """Store a frozen version and the images that it trains on."""
        values = {
            **vars(version),
            "classes": list(version.classes),
            "counts": {name: dict(sides) for name, sides in version.counts.items()},
        }
        self._connection.execute(sa.insert(dataset_versions).values(values))
        if manifest.kind is not DatasetKind.UNLABELLED:  # on which nothing can be trained
            self._note_trained(version, (entry.pixels for entry in manifest.on(Side.TRAIN)))

    def version(self, dataset: DatasetId, number: int, *, keep: bool = False) -> DatasetVersion:
        """Return a dataset version; `keep` keeps others from deleting it before commit.

        Raises DatasetVersionNotFound.
        """
        query = sa.select(dataset_versions).where(_is(dataset_versions, dataset, number))
        if keep:  # SQLite's write transactions take turns anyway
            query = query.with_for_update(read=True, key_share=True)
        row = self._connection.execute(query).first()
        if row is None:
            raise DatasetVersionNotFound(dataset=dataset, version=number)
        return from_plain(DatasetVersion, row._mapping)

    def remaining(self, ref: DatasetRef) -> DatasetVersion | None:
        """Return a dataset version, or what replaces it; None if nothing is left of it."""
        found = self.version(ref.dataset, ref.version)
        while found.replaced_by:
            found = self.version(found.dataset, found.replaced_by)
        return found if found.replaced_by is None else None

    def versions(self, dataset: DatasetId, *, lock: bool = False) -> Sequence[DatasetVersion]:
        """Return all versions of a dataset, oldest first; `lock` waits for those who keep one."""
        query = (
            sa.select(dataset_versions)
            .where(dataset_versions.c.dataset == dataset)
            .order_by(dataset_versions.c.number)
        )
        if lock:
            query = query.with_for_update()
        return [from_plain(DatasetVersion, row._mapping) for row in self._connection.execute(query)]

    def newest_versions(
        self, datasets: Collection[DatasetId]
    ) -> Mapping[DatasetId, tuple[DatasetVersion, int]]:
        """Return the newest version of each dataset that has one, and how many it has."""
        rows = dataset_versions
        last = (
            sa.select(
                rows.c.dataset,
                sa.func.max(rows.c.number).label("number"),
                sa.func.count().label("n"),
            )
            .where(rows.c.dataset.in_(datasets))
            .group_by(rows.c.dataset)
            .subquery()
        )
        same = (rows.c.dataset == last.c.dataset) & (rows.c.number == last.c.number)
        query = sa.select(rows, last.c.n).join(last, same)
        return {
            row.dataset: (from_plain(DatasetVersion, row._mapping), int(row.n))
            for row in self._connection.execute(query)
        }

    def replace_version(self, dataset: DatasetId, number: int, by: int) -> None:
        """Record the version that a locked one is replaced by, since images of it were erased."""
        self._connection.execute(
            sa.update(dataset_versions)
            .where(_is(dataset_versions, dataset, number))
            .values(replaced_by=by)
        )

    def remove_version(
        self, version: DatasetVersion, later: Iterable[tuple[DatasetVersion, Manifest]]
    ) -> None:
        """Delete a locked version and vectors of it.

        Images that it was the first to train on are noted of a later one: `later` are those that
        were frozen after it, oldest first.
        """
        theirs = _is(trained_images, version.dataset, version.number)
        left = set(self._connection.scalars(sa.select(trained_images.c.pixels).where(theirs)))
        for table in (trained_images, vectors, dataset_versions):
            gone = sa.delete(table).where(_is(table, version.dataset, version.number))
            self._connection.execute(gone)
        for other, manifest in later if left else ():
            trained = left & {entry.pixels for entry in manifest.on(Side.TRAIN)}
            self._note_trained(other, trained)
            left -= trained
            if not left:
                break

    def _remove_versions(self, dataset: DatasetId) -> None:
        """Delete all versions of a dataset, and vectors of them."""
        for table in (vectors, trained_images, dataset_versions):
            self._connection.execute(sa.delete(table).where(table.c.dataset == dataset))

    def _note_trained(self, version: DatasetVersion, pixels: Iterable[Digest]) -> None:
        where = {"dataset": version.dataset, "number": version.number}
        rows = [{"pixels": one, **where} for one in pixels]
        insert_missing(self._connection, trained_images, rows)

    def trained_groups(self, groups: Collection[Digest], *, except_for: DatasetId) -> set[Digest]:
        """Return the groups that are on the training side of another dataset's versions.

        Versions of the dataset `except_for` count too once an update has trained on it, or an
        unfinished job will; distilling its images as a reference set counts as training.
        """
        others = [trained_images.c.dataset != except_for]
        if is_trained_on(self._connection, except_for):
            others = []
        return groups_in(self._connection, trained_images.c.pixels, groups, *others)

    def uses(self, dataset: DatasetId, number: int | None = None) -> DatasetUses:
        """Return what needs a version of a dataset; without a number, any version or the dataset.

        Suites name no dataset version, but its manifest. Versions that came by a bundle name
        the manifests that their line learned from: without these, an erasure could not tell.
        """
        learned = (
            sa.select(models.c.name, versions.c.number)
            .join(versions, versions.c.model == models.c.id)
            .where(_has_learned(dataset, number))
            .order_by(models.c.name, versions.c.number)
        )
        held = sa.select(dataset_versions.c.manifest).where(
            dataset_versions.c.dataset == dataset,
            *([] if number is None else [dataset_versions.c.number == number]),
        )
        manifests = set(self._connection.scalars(held))
        known = {*manifests, *map(validation_of, manifests)}
        imported = (
            sa.select(models.c.name, versions.c.number, versions.c.origin)
            .join(versions, versions.c.model == models.c.id)
            .where(versions.c.origin.is_not(None), versions.c.deleted_at.is_(None))
            .order_by(models.c.name, versions.c.number)
        )
        taught = [
            *self._connection.execute(learned),
            *(
                row
                for row in self._connection.execute(imported)
                if not known.isdisjoint(row.origin["learned_from"])
            ),
        ]
        made = (
            sa.select(suites.c.name)
            .where(suites.c.source.in_(held), suites.c.retired_at.is_(None))
            .distinct()
            .order_by(suites.c.name)
        )
        will_need = sa.or_(*WILL_LEARN(dataset, number), *WILL_READ(dataset, number))
        if number is None:
            will_need = sa.or_(will_need, *WILL_FILL(dataset))
        replaced = (
            sa.select(dataset_versions.c.number)
            .where(dataset_versions.c.dataset == dataset, dataset_versions.c.replaced_by == number)
            .order_by(dataset_versions.c.number)
        )
        waiting = sa.select(jobs.c.id).where(will_need).order_by(jobs.c.position)
        return DatasetUses(
            versions=[f"{row.name}:{row.number}" for row in taught],
            suites=list(self._connection.scalars(made)),
            jobs=list(self._connection.scalars(waiting)),
            replaced=[] if number is None else list(self._connection.scalars(replaced)),
        )


def _is(table: sa.Table, dataset: DatasetId, number: int) -> sa.ColumnElement[bool]:
    numbers = table.c.dataset_version if table is vectors else table.c.number
    return (table.c.dataset == dataset) & (numbers == number)


class Suites(Rows):
    """Rows of suites, and of the images that they hold."""

    def add(self, suite: Suite, manifest: Manifest) -> None:
        """Store a suite. Raises NameTaken."""
        values = {
            **vars(suite),
            "classes": list(suite.classes),
            "prompt": suite.prompt.text,
        }
        if not insert_new(self._connection, suites, values):
            raise NameTaken(name=suite.name)
        self._protect(suite, manifest)

    def grow(self, suite: Suite, into: Suite, manifest: Manifest) -> None:
        """Store the next edition of a locked suite, which protects the images of both."""
        old = suites.c.id == suite.id
        self._connection.execute(sa.update(suites).where(old).values(grown_into=into.id))
        self._free([suite.id])
        self.add(into, manifest)

    def _protect(self, suite: Suite, manifest: Manifest) -> None:
        pixels = [{"pixels": entry.pixels, "suite": suite.id} for entry in manifest.entries]
        if pixels:
            self._connection.execute(sa.insert(suite_images), pixels)

    def _free(self, editions: Collection[SuiteId]) -> None:
        gone = sa.delete(suite_images).where(suite_images.c.suite.in_(editions))
        self._connection.execute(gone)

    def get(self, reference: str) -> Suite:
        """Return an edition by its id, or the newest one of a name. Raises SuiteNotFound."""
        row = self._find(reference)
        if row is None:
            raise SuiteNotFound(suite=reference)
        return _to_suite(row)

    def newest(self, reference: str, *, lock: bool = False) -> Suite:
        """Return the newest edition of a suite, also for the id of an earlier one.

        `lock` keeps others from changing it until commit. Raises SuiteNotFound.
        """
        row = self._find(self.get(reference).name, lock=lock)
        while row is None:  # it has grown while this waited for its lock
            row = self._find(self.get(reference).name, lock=lock)
        return _to_suite(row)

    def _find(self, reference: str, *, lock: bool = False) -> sa.Row[Any] | None:
        query = _NAMED.with_for_update(key_share=True) if lock else _NAMED
        return self._connection.execute(query, {"reference": reference}).first()

    def require_free(self, name: str) -> None:
        """Raise NameTaken if a suite has a name."""
        if self._find(name) is not None:
            raise NameTaken(name=name)

    def chosen(self, references: Iterable[str]) -> tuple[SuiteId, ...]:
        """Return the ids of suites that are to judge a model, each once; they stay as they are.

        Of a suite that has grown, that is the newest edition. Raises SuiteNotFound or SuiteRetired.
        """
        # In the order of ids: two choices of the same suites would otherwise wait for each other.
        names = [self.get(reference).name for reference in references]
        found: dict[str, SuiteId] = {}
        for name in sorted(set(names), key=lambda name: self.get(name).id):
            suite = self.newest(name, lock=True)
            if suite.model is not None:
                raise SuiteNotFound(suite=name)
            suite.require_in_use()
            found[name] = suite.id
        return tuple(found[name] for name in dict.fromkeys(names))

    def retire(self, suite: Suite, at: datetime) -> None:
        """Record when a locked suite was retired, with all editions, and free its images.

        What joined a holdout loses its name, which another model of that name may need.
        """
        self._free([suite.id])
        name = suite.name if suite.model is None else f"{suite.name} of {suite.model}"
        change = sa.update(suites).where(suites.c.name == suite.name)
        self._connection.execute(change.values(retired_at=at, name=name))

    def names(self, ids: Collection[SuiteId]) -> Mapping[str, str]:
        """Return the names of the suites with these ids."""
        return names_of(self._connection, suites, ids)

    def page(self, limit: int, after: str | None) -> Sequence[Suite]:
        """Return a page of suites, oldest first; `after` is the last id of the previous page.

        Each is the newest edition.
        """
        later = suites.c.id > (after or "")
        query = sa.select(suites).where(later, suites.c.grown_into.is_(None), _OWN)
        rows = self._connection.execute(query.order_by(suites.c.id).limit(limit))
        return [_to_suite(row) for row in rows]

    def held_out(self, model: ModelId) -> Mapping[int, Suite]:
        """Return the images that were added to the holdouts of a model, by the version's number."""
        theirs = (suites.c.model == model) & suites.c.grown_into.is_(None)
        theirs &= suites.c.retired_at.is_(None)
        rows = self._connection.execute(sa.select(suites).where(theirs))
        return {row.version: _to_suite(row) for row in rows}

    def sources(self) -> set[Digest]:
        """Return the manifests of the dataset versions that suites in use got images from."""
        query = sa.select(suites.c.source).where(suites.c.retired_at.is_(None))
        return {Digest(one) for one in self._connection.scalars(query)}

    def editions(self) -> Sequence[Suite]:
        """Return all editions of all suites."""
        rows = self._connection.execute(sa.select(suites).order_by(suites.c.id))
        return [_to_suite(row) for row in rows]

    def contains(self, groups: Collection[Digest]) -> set[Digest]:
        """Return the groups of which any suite holds an image."""
        return groups_in(self._connection, suite_images.c.pixels, groups)


_OWN = suites.c.model.is_(None)
_REFERENCE: sa.BindParameter[str] = sa.bindparam("reference")
_NEWEST_NAMED = (suites.c.name == _REFERENCE) & suites.c.grown_into.is_(None)
_NAMED = (
    sa.select(suites)
    .where((suites.c.id == _REFERENCE) | _NEWEST_NAMED)
    .order_by(sa.case((suites.c.id == _REFERENCE, 0), else_=1))
    .limit(1)
)


def _to_suite(row: sa.Row[Any]) -> Suite:
    return from_plain(Suite, {**row._mapping, "prompt": {"text": row.prompt}})
