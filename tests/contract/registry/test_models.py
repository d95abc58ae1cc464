"""Suites, policies, models and versions."""

from dataclasses import replace

import pytest

from core.database.work import Transactions
from core.datasets.rows import Datasets
from core.datasets.version_rows import Suites
from core.errors import ModelNotFound, NameTaken, VersionNotFound
from core.gate.rows import Policies
from core.gate.rules import Verdict
from core.jobs.rows import Jobs
from core.principal import Principal, Role
from core.recipes.fields import Method
from core.recipes.rules import Recipe
from core.registry.configure import configure_model
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model, VersionStatus
from core.values import DatasetId
from tests.support.factories import (
    NOW,
    a_dataset,
    a_dataset_version,
    a_job,
    a_manifest,
    a_model,
    a_policy,
    a_suite,
    a_version,
    digest,
)
from tests.support.scene import Scene
from tests.support.storage.databases import commit_beside


def test_model_keeps_its_suites_in_their_order(transactions: Transactions) -> None:
    policy, other = a_policy(), a_policy()
    suites = [a_suite() for _ in range(3)]
    chosen = tuple(suite.id for suite in reversed(suites))
    model = a_model(policy, suites=chosen)
    manifest = a_manifest(a_dataset(), {digest(1): "cat"})
    with transactions() as work:
        for suite in suites:
            work[Suites].add(suite, manifest)
        work[Policies].add(policy)
        work[Policies].add(other)
        work[Models].add(model)
        assert work[Models].get(model.id) == work[Models].get(model.name) == model
        work[Models].set_suites(model.id, chosen[:1])
        work[Models].set_policy(model.id, other.id)
        assert work[Models].page(10, None) == [replace(model, suites=chosen[:1], policy=other.id)]
        assert work[Models].ids_of([model.name, model.name, "other", model.id]) == [model.id]
        assert work[Models].ids_of([]) == work[Models].ids_of([model.id]) == []
        work.commit()
    stranger = Principal(name="stranger", role=Role.VIEWER, models=frozenset())
    with transactions.on_behalf_of(stranger)() as work:
        assert work[Models].ids_of([model.name]) == []
    with transactions() as work:
        with pytest.raises(NameTaken):
            work[Models].add(a_model(policy, name=model.name))
        with pytest.raises(ModelNotFound):
            work[Models].get("other")


def test_models_that_a_dataset_taught_are_those_that_a_key_is_for(
    transactions: Transactions, model: Model
) -> None:
    dataset, job = a_dataset(), a_job(model)
    manifest = a_manifest(dataset, {digest(1): "cat"})
    taught = a_version(job, dataset=dataset.id, dataset_version=1)
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_version(a_dataset_version(dataset, 1, manifest), manifest)
        work[Jobs].add(job)
        for version in (taught, replace(taught, number=2, parent=1)):
            work[Versions].add(version)
        assert work[Models].taught([dataset.id, DatasetId("ds_2")]) == {dataset.id: [model.name]}
        work.commit()
    stranger = Principal(name="stranger", role=Role.VIEWER, models=frozenset())
    with transactions.on_behalf_of(stranger)() as work:
        assert work[Models].taught([dataset.id]) == {}


def test_version_comes_back_as_it_was(transactions: Transactions, model: Model) -> None:
    dataset, job = a_dataset(), a_job(model)
    manifest = a_manifest(dataset, {digest(1): "cat"})
    root = a_version(job, 1, status=VersionStatus.PROMOTED)
    child = a_version(
        job,
        2,
        parent=1,
        recipe=Recipe(method=Method.LWF, seed=7),
        dataset=dataset.id,
        dataset_version=1,
        update_classes=("cat",),
        classes=("dog", "cat"),
        environment={"torch": "2"},
        environments=({"torch": "1"}, {"torch": "2"}),
        feature_statistics={"Cat": digest("of cat"), "dog": digest("of dog")},
        created_at=NOW,
    )
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_version(a_dataset_version(dataset, 1, manifest), manifest)
        work[Jobs].add(job)
        for version in (root, child):
            assert work[Versions].next_number(model.id) == version.number
            work[Versions].add(version)
        assert work[Versions].get(model.id, 1) == root
        assert work[Versions].get(model.id, 2) == child
        assert work[Versions].all(model.id) == [root, child]
        judged = child.judged(Verdict.FAILED, digest("report"))
        work[Versions].save(judged)
        assert work[Versions].get(model.id, 2) == judged
        with pytest.raises(VersionNotFound):
            work[Versions].get(model.id, 3)
        with pytest.raises(VersionNotFound):
            work[Versions].save(replace(child, number=3))


def test_versions_page_oldest_first_without_recipes(
    transactions: Transactions, model: Model
) -> None:
    job = a_job(model)
    made = [a_version(job, number) for number in range(1, 6)]
    with transactions() as work:
        work[Jobs].add(job)
        for version in made:
            work[Versions].add(replace(version, recipe=Recipe()))
        assert work[Versions].page(model.id, 3, None) == made[:3]
        assert work[Versions].page(model.id, 3, 3) == made[3:]
        work[Versions].remove(model.id, 3, NOW)
        assert work[Versions].numbers(model.id, 2, 1) == [2, 4]


def test_newest_version_with_a_digest_is_meant(transactions: Transactions, model: Model) -> None:
    job = a_job(model)
    with transactions() as work:
        work[Jobs].add(job)
        for number in (1, 2):
            work[Versions].add(a_version(job, number, digest=digest("same")))
        assert work[Versions].by_digest(model.id, digest("same")).number == 2
        with pytest.raises(VersionNotFound):
            work[Versions].by_digest(model.id, digest("other"))


def test_unknown_model_has_no_next_number(transactions: Transactions, model: Model) -> None:
    with transactions() as work, pytest.raises(ModelNotFound):
        work[Versions].next_number(replace(model, id="model_none").id)


def test_last_choice_of_suites_at_the_same_time_counts_and_each_suite_once(scene: Scene) -> None:
    data, model = scene.frozen("cat", "dog"), scene.model()
    one, two = (scene.suite(model, data, name) for name in ("one", "two"))
    chosen = {"suites": ["two", two.id, "two"], "policy": None, "reason": "a test"}
    with scene.platform.transactions() as work:
        work[Models].set_suites(model.id, [one.id])
        choice = commit_beside(work, configure_model, scene.platform, model.name, **chosen)
    assert choice.result().suites == (two.id,)
