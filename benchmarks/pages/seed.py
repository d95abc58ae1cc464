"""Rows and artifacts of a service in use, written past its rules: versions, jobs, images, audit.

Each group of twenty updates is a line of its own that begins at the root. Every update has a frozen
dataset, a report, and answers about its suite and about the holdouts of its line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select, update

from benchmarks.pages import rows
from benchmarks.pages.made import BEGAN, LINE, answers_of, digest_of, entries_of, report_of
from benchmarks.pages.maps import add_map
from benchmarks.pages.trials import add_trial
from core.adapters.database.engine import open_engine
from core.adapters.database.tables.datasets import (
    dataset_images,
    dataset_versions,
    datasets,
    thumbnails,
)
from core.adapters.database.tables.datasets import images as image_rows
from core.adapters.database.tables.jobs import job_events, jobs
from core.adapters.database.tables.models import alias_moves, aliases, models, versions
from core.adapters.database.tables.webhooks import deliveries, webhooks
from core.domain.access.roles import Role
from core.domain.datasets.dataset import DatasetKind
from core.domain.datasets.manifest import Manifest
from core.domain.datasets.split import Part, Side
from core.domain.datasets.suite import Suite, SuiteKind
from core.domain.evaluation.plan_queries import ScoredSuite, entries_in, holdout_query, suite_query
from core.domain.evaluation.query import ClassQuery, answers_to_json
from core.domain.recipes.prompt import DEFAULT_PROMPT
from core.domain.recipes.recipe import Recipe
from core.domain.registry.version import Version
from core.domain.values import SuiteId, canonical_json
from core.ports import Platform
from core.use_cases.access.keys import create_key
from core.use_cases.datasets.suites import add_suite

MODEL, SUITE, DATASET = "demo", "kept", "products"
SUITE_IMAGES, KEYS = 2500, 50
_CLASSES = tuple(f"class {number}" for number in range(50))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of rows in a database."""

    versions: int = 1
    jobs: int = 1
    images: int = 0
    audit: int = 0


class Seed:
    """The database and the store of a service, which grow."""

    def __init__(self, platform: Platform, database: str) -> None:
        self._platform = platform
        self._engine = open_engine(database)
        self._sizes = Sizes()
        with self._engine.connect() as connection:
            self._model = connection.execute(select(models.c.id)).scalar_one()
            self._job = dict(connection.execute(select(jobs)).one()._mapping)
            self._root = dict(connection.execute(select(versions)).one()._mapping)
        self._suite = self._make_suite()
        for number in range(KEYS):
            create_key(platform, name=f"key-{number}", role=Role.VIEWER)
        with self._engine.begin() as connection:
            connection.execute(insert(datasets), [rows.dataset(DATASET, rows.DATASET)])
            connection.execute(insert(webhooks), [rows.webhook()])

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def grow(self, sizes: Sizes) -> None:
        """Add rows until there are so many."""
        before, self._sizes = self._sizes, sizes
        with self._engine.begin() as connection:
            numbers = range(before.images, sizes.images)
            rows.write(connection, image_rows, map(rows.image, numbers))
            rows.write(connection, thumbnails, map(rows.thumbnail, numbers))
            rows.write(connection, dataset_images, map(rows.dataset_image, numbers))
            connection.execute(update(datasets).values(revision=datasets.c.revision + 1))
            numbers = range(before.jobs, sizes.jobs)
            rows.write(connection, jobs, (rows.job(self._job, number) for number in numbers))
            rows.write(connection, deliveries, (rows.delivery(number) for number in numbers))
        self._grow_line(range(before.versions + 1, sizes.versions + 1))
        now = self._platform.clock()
        with self._platform.transactions() as work:
            for number in range(before.audit, sizes.audit):
                work.audit.add(rows.change(number, now))
            work.commit()
        if self._engine.dialect.name == "postgresql":  # as it does by itself after a while
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one:
                one.exec_driver_sql("VACUUM ANALYZE")

    def _grow_line(self, numbers: range) -> None:
        put = self._platform.artifacts.put
        made: list[dict[str, Any]] = []
        for number in numbers:
            entries = entries_of(f"update {number}", 40, (f"class {number}", "cup"))
            manifest = put(Manifest(kind=DatasetKind.LABELLED, entries=entries).to_bytes())
            made.append(self._version_row(number) | {"manifest": manifest})
        with self._engine.begin() as connection:
            names = [
                rows.dataset(f"update-{row['number']}", f"ds_{row['number']:06}") for row in made
            ]
            rows.write(connection, datasets, iter(names))
            rows.write(connection, dataset_versions, map(rows.dataset_version, made))
            for row in made:
                del row["manifest"]
            rows.write(connection, versions, iter(made))
            last = numbers[-1]
            connection.execute(update(models).values(last_version=last))
            moves = [rows.move(self._model, number) for number in numbers if number % 2 == 0]
            rows.write(connection, alias_moves, iter(moves))
            live = {"version": moves[-1]["to_version"], "revision": moves[-1]["revision"]}
            connection.execute(update(aliases).values(**live))
            events = (rows.event(job_of(last), step) for step in range(1, 401))
            rows.write(connection, job_events, events)
        self._answer(last)
        self._answer(last - 1)
        add_map(self._platform, self._model, last, SUITE, SUITE_IMAGES, job_of(last))
        add_trial(self._platform, self._model)

    def _version_row(self, number: int) -> dict[str, Any]:
        first = first_of_line(number)
        parent = 1 if number == first else number - 1
        report = report_of(number, parent)
        learned = [f"class {one}" for one in range(first, number + 1)]
        return {
            **self._root,
            "number": number,
            "status": "promoted" if number % 2 == 0 else "candidate",
            "digest": digest_of(f"version {number}"),
            "parent": parent,
            "job": job_of(number),
            "recipe": Recipe().to_json(),
            "dataset": f"ds_{number:06}",
            "dataset_version": 1,
            "update_classes": [f"class {number}", "cup"],
            "classes": [*learned, "cup"],
            "verdict": report.verdict.value,
            "report": self._platform.artifacts.put(report.to_bytes()),
            "created_at": BEGAN + timedelta(hours=number),
        }

    def _answer(self, number: int) -> None:
        """Store what a version answered about its suite and the holdouts of its line."""
        with self._platform.transactions() as work:
            found = work.versions.get(self._model, number)
            for query in (self._suite, *self._holdouts(number)):
                answers = answers_to_json(answers_of(query, seed=number))
                stored = self._platform.artifacts.put(canonical_json(answers))
                work.answers.add(found.digest, query.digest, stored)
            work.commit()

    def _holdouts(self, number: int) -> Iterator[ClassQuery]:
        with self._platform.transactions(read_only=True) as work:
            for learner in range(max(2, first_of_line(number)), number + 1):
                version: Version = work.versions.get(self._model, learner)
                entries = entries_of(f"update {learner}", 40, (f"class {learner}", "cup"))
                held = tuple(one for one in entries if one.side is Side.HOLDOUT)
                if asked := entries_in(Part.TEST, held):
                    yield holdout_query(version, asked)

    def _make_suite(self) -> ClassQuery:
        manifest = Manifest(
            kind=DatasetKind.LABELLED, entries=entries_of("suite", SUITE_IMAGES, _CLASSES)
        )
        suite = Suite(
            id=SuiteId("suite_pages"),
            name=SUITE,
            kind=SuiteKind.ZERO_SHOT,
            manifest=self._platform.artifacts.put(manifest.to_bytes()),
            classes=manifest.classes,
            images=SUITE_IMAGES,
            prompt=DEFAULT_PROMPT,
            created_at=BEGAN,
        )
        with self._platform.transactions() as work:
            work.suites.add(suite, manifest)
            work.commit()
        add_suite(self._platform, MODEL, suite)
        query = suite_query(ScoredSuite(suite=suite, manifest=manifest), Part.TEST)
        assert isinstance(query, ClassQuery)
        return query


def first_of_line(number: int) -> int:
    """Return the first version of the line that a version is in."""
    return (number - 1) // LINE * LINE + 1


def job_of(version: int) -> str:
    """Return the id of the job that made a version."""
    return f"job_{version:08}"
