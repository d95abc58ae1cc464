"""What a request costs, counted: statements of the database, and waits for a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Engine, event

from core.datasets.rows import Datasets
from core.datasets.version_rows import Suites
from core.erasure.rows import Erasures
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.jobs.rows import Jobs
from core.registry.rows import Models, Versions
from tests.support.api.seeds import a_candidate, a_root
from tests.support.api.service import Service
from tests.support.factories import (
    NOW,
    a_dataset,
    a_job,
    a_manifest,
    a_policy,
    a_suite,
    an_erasure,
    digest,
)

PATHS = (
    "/v1/jobs",
    "/v1/models",
    "/v1/models/model-1/versions",
    "/v1/datasets",
    "/v1/suites",
    "/v1/gate-policies",
    "/v1/erasures",
)


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that ask a database for rows meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield seen
    event.remove(Engine, "before_cursor_execute", note)


def grow(service: Service, numbers: range) -> None:
    """A model with a policy, a suite, a dataset version and an update's job for each number.

    Each number also has an erasure, which has marked all versions of the first model.
    """
    for number in numbers:
        model = a_root(service.platform, f"model-{number}")
        parent = a_candidate(service.platform, model, verdict=Verdict.PASSED)
        with service.platform.transactions() as work:
            policy, suite = a_policy(), a_suite()
            dataset = replace(a_dataset(), name=f"dataset-{number}")
            manifest = a_manifest(dataset, {digest(number): "cat"})
            work[Policies].add(policy)
            work[Suites].add(suite, manifest)
            work[Models].set_policy(model.id, policy.id)
            work[Models].set_suites(model.id, [suite.id])
            work[Datasets].add(dataset)
            work[Jobs].add(replace(a_job(model).succeed({}, NOW), parent_version=parent.number))
            work.commit()
        with service.platform.transactions() as work:
            job, erasure = an_erasure(work[Versions].all(work[Models].get("model-1").id))
            work[Jobs].add(job)
            work[Erasures].add(erasure)
            work[Erasures].save(erasure)
            work.commit()
    with service.platform.transactions(read_only=True) as work:
        first = work[Models].get("model-1")
    a_candidate(service.platform, first, verdict=Verdict.PASSED)


def test_a_list_takes_as_many_statements_for_many_rows_as_for_one(service: Service) -> None:
    grow(service, range(1, 2))
    for path in PATHS:
        service.client.get(path)  # opens the connections
    few = {path: count(service, path) for path in PATHS}
    grow(service, range(2, 9))
    many = {path: count(service, path) for path in PATHS}
    assert many == few


def count(service: Service, path: str) -> int:
    with statements() as seen:
        assert service.client.get(path).json()["data"]
    return len(seen)
