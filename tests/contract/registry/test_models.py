"""Suites, policies, models and versions."""

from dataclasses import replace

import pytest

from core.audit.rules import Principal, Role
from core.errors import ModelNotFound, NameTaken, PolicyNotFound, SuiteNotFound, VersionNotFound
from core.gate.rules import Verdict
from core.ports import Transactions
from core.recipes.fields import Method, PromptTemplate
from core.recipes.rules import Recipe
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


def test_suite_is_found_and_knows_its_images(transactions: Transactions) -> None:
    suite, dataset = a_suite(prompt=PromptTemplate("a sketch of a {name}.")), a_dataset()
    manifest = a_manifest(dataset, {digest(1): "cat", digest(2): "dog"})
    with transactions() as work:
        work.suites.add(suite, manifest)
        assert work.suites.get(suite.id) == work.suites.get(suite.name) == suite
        assert work.suites.page(10, None) == [suite]
        assert work.suites.contains([digest(1), digest(3)]) == {digest(1)}
        with pytest.raises(NameTaken):
            work.suites.add(a_suite(name=suite.name), manifest)
        with pytest.raises(SuiteNotFound):
            work.suites.get("other")


def test_two_suites_may_share_images(transactions: Transactions) -> None:
    manifest = a_manifest(a_dataset(), {digest(1): "cat"})
    with transactions() as work:
        work.suites.add(a_suite(), manifest)
        work.suites.add(a_suite(), manifest)
        assert work.suites.contains([digest(1)]) == {digest(1)}


def test_policy_keeps_every_number(transactions: Transactions) -> None:
    policy = a_policy(
        parent_tolerance=0.06,
        minimum_count=50,
        line_error=0.05,
        line_updates=40,
        negative_flips=0.03,
        reason="a small model",
    )
    with transactions() as work:
        work.policies.add(policy)
        assert work.policies.get(policy.id) == work.policies.get(policy.name) == policy
        assert work.policies.page(10, None) == [policy]
        with pytest.raises(NameTaken):
            work.policies.add(a_policy(name=policy.name))
        with pytest.raises(PolicyNotFound):
            work.policies.get("other")


def test_model_keeps_its_suites_in_their_order(transactions: Transactions) -> None:
    policy, other = a_policy(), a_policy()
    suites = [a_suite() for _ in range(3)]
    chosen = tuple(suite.id for suite in reversed(suites))
    model = a_model(policy, suites=chosen)
    manifest = a_manifest(a_dataset(), {digest(1): "cat"})
    with transactions() as work:
        for suite in suites:
            work.suites.add(suite, manifest)
        work.policies.add(policy)
        work.policies.add(other)
        work.models.add(model)
        assert work.models.get(model.id) == work.models.get(model.name) == model
        work.models.set_suites(model.id, chosen[:1])
        work.models.set_policy(model.id, other.id)
        assert work.models.page(10, None) == [replace(model, suites=chosen[:1], policy=other.id)]
        assert work.models.ids_of([model.name, model.name, "other", model.id]) == [model.id]
        assert work.models.ids_of([]) == work.models.ids_of([model.id]) == []
        work.commit()
    stranger = Principal(name="stranger", role=Role.VIEWER, models=frozenset())
    with transactions.on_behalf_of(stranger)() as work:
        assert work.models.ids_of([model.name]) == []
    with transactions() as work:
        with pytest.raises(NameTaken):
            work.models.add(a_model(policy, name=model.name))
        with pytest.raises(ModelNotFound):
            work.models.get("other")


def test_models_that_a_dataset_taught_are_those_that_a_key_is_for(
    transactions: Transactions, model: Model
) -> None:
    dataset, job = a_dataset(), a_job(model)
    manifest = a_manifest(dataset, {digest(1): "cat"})
    taught = a_version(job, dataset=dataset.id, dataset_version=1)
    with transactions() as work:
        work.datasets.add(dataset)
        work.datasets.add_version(a_dataset_version(dataset, 1, manifest), manifest)
        work.jobs.add(job)
        for version in (taught, replace(taught, number=2, parent=1)):
            work.versions.add(version)
        assert work.models.taught([dataset.id, DatasetId("ds_2")]) == {dataset.id: [model.name]}
        work.commit()
    stranger = Principal(name="stranger", role=Role.VIEWER, models=frozenset())
    with transactions.on_behalf_of(stranger)() as work:
        assert work.models.taught([dataset.id]) == {}


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
        work.datasets.add(dataset)
        work.datasets.add_version(a_dataset_version(dataset, 1, manifest), manifest)
        work.jobs.add(job)
        for version in (root, child):
            assert work.versions.next_number(model.id) == version.number
            work.versions.add(version)
        assert work.versions.get(model.id, 1) == root
        assert work.versions.get(model.id, 2) == child
        assert work.versions.all(model.id) == [root, child]
        judged = child.judged(Verdict.FAILED, digest("report"))
        work.versions.save(judged)
        assert work.versions.get(model.id, 2) == judged
        with pytest.raises(VersionNotFound):
            work.versions.get(model.id, 3)
        with pytest.raises(VersionNotFound):
            work.versions.save(replace(child, number=3))


def test_versions_page_oldest_first(transactions: Transactions, model: Model) -> None:
    job = a_job(model)
    made = [a_version(job, number) for number in range(1, 6)]
    with transactions() as work:
        work.jobs.add(job)
        for version in made:
            work.versions.add(version)
        assert work.versions.page(model.id, 3, None) == made[:3]
        assert work.versions.page(model.id, 3, 3) == made[3:]
        work.versions.remove(model.id, 3, NOW)
        assert work.versions.numbers(model.id, 2, 1) == [2, 4]


def test_newest_version_with_a_digest_is_meant(transactions: Transactions, model: Model) -> None:
    job = a_job(model)
    with transactions() as work:
        work.jobs.add(job)
        for number in (1, 2):
            work.versions.add(a_version(job, number, digest=digest("same")))
        assert work.versions.by_digest(model.id, digest("same")).number == 2
        with pytest.raises(VersionNotFound):
            work.versions.by_digest(model.id, digest("other"))


def test_unknown_model_has_no_next_number(transactions: Transactions, model: Model) -> None:
    with transactions() as work, pytest.raises(ModelNotFound):
        work.versions.next_number(replace(model, id="model_none").id)
