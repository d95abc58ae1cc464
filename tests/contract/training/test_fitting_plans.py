"""The comparisons of an update that is to fit its policy are fixed at its first claim."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.datasets.manifests import Part
from core.datasets.rules import DatasetVersion
from core.errors import DatabaseUnavailable, InUse
from core.evaluation import fitting
from core.evaluation.comparisons import comparisons
from core.evaluation.plan import EvaluationPlan, plan_queries
from core.evaluation.queries import ClassQuery
from core.gate.kinds import ClassList
from core.jobs.needs import versions_of
from core.jobs.rules import Beside, JobStatus, Monitor
from core.recipes.fields import Method, MixingChoice
from core.recipes.rules import Recipe
from core.registry.evidence import grow_holdout
from core.registry.promote import promote
from core.registry.rows import Models
from core.registry.version_rows import Versions
from core.registry.versions import Model
from core.training.trainer import TrainingSpec
from core.training.update_model import inputs_of_version, spec_of
from core.upkeep.delete import delete_version
from core.values import ErasureId
from tests.support.factories import NOW, TESTER
from tests.support.scene import Scene, nothing

FIT = Recipe(method=Method.FT, mixing_choice=MixingChoice.FIT)


def put_live(scene: Scene, model: Model, version: int, revision: int) -> None:
    promote(
        scene.platform,
        TESTER,
        model=model.name,
        alias="production",
        version=version,
        expected_revision=revision,
        reason="it goes live for this test",
        override=True,
    )


def grow(scene: Scene, model: Model, data: DatasetVersion) -> None:
    named = {"dataset": data.dataset, "dataset_version": data.number}
    grow_holdout(scene.platform, model=model.name, version=2, **named, reason="a test")


def last_plan(scene: Scene, task: int = -1) -> EvaluationPlan:
    fit = scene.script.tasks[task].fit
    assert fit is not None
    return fit


def scene_with_line(scene: Scene) -> Model:
    """Versions 2 and 3 have learned two classes each; version 3 is live, version 1 the parent."""
    model = scene.model()
    scene.suite(model, scene.frozen("sun", "moon", each=10, offset=50), "sky")
    for parent, (classes, offset) in enumerate(((("cat", "dog"), 200), (("owl", "elk"), 300)), 1):
        scene.learn(model, scene.frozen(*classes, each=10, offset=offset), parent=parent)
        put_live(scene, model, parent + 1, parent)
    return model


def test_the_gates_questions_are_asked_about_validation_parts_alone(scene: Scene) -> None:
    model = scene_with_line(scene)
    scene.learn(model, scene.frozen("ant", "bee", each=10, offset=400), parent=3, recipe=FIT)
    plan = last_plan(scene)
    asked = [query for _, queries in plan.questions for query in queries]
    assert asked
    assert all(one.part is Part.VALIDATION for query in asked for one in query.entries)
    assert [one.exam.name for one in plan.holdouts] == ["version 2", "version 3"]
    lists = {query.classes for query in asked if isinstance(query, ClassQuery)}
    learned = ("cat", "dog", "elk", "owl", "ant", "bee")
    assert {("moon", "sun"), ("moon", "sun", *learned), ("cat", "dog"), learned} <= lists
    judged = {query for _, query in scene.script.asked_questions}
    assert judged.isdisjoint({query.digest for query in asked})
    assert scene.script.tasks[-1].selection is None


def test_what_only_the_live_version_has_learned_is_asked_as_well(scene: Scene) -> None:
    model = scene_with_line(scene)
    scene.learn(model, scene.frozen("ant", "bee", each=10, offset=400), parent=1, recipe=FIT)
    plan = last_plan(scene)
    assert plan.live is not None
    assert plan.live.number == 3
    assert [one.exam.name for one in plan.live_holdouts] == ["version 2", "version 3"]


def test_a_later_claim_compares_with_the_same_versions_whatever_went_live_since(
    scene: Scene,
) -> None:
    model = scene_with_line(scene)
    scene.learn(model, scene.frozen("fox", "cow", each=10, offset=500), parent=3)
    data = scene.frozen("ant", "bee", each=10, offset=400)
    job = scene.update(model, data, parent=4, recipe=FIT)

    def promote_another_and_die(monitor: Monitor) -> None:
        put_live(scene, model, 4, 3)
        raise DatabaseUnavailable

    scene.script.training = promote_another_and_die
    assert scene.run().status is JobStatus.QUEUED
    scene.script.training = nothing
    assert scene.run().status is JobStatus.SUCCEEDED
    *_, first, second = scene.script.tasks
    assert replace(first, fit=None) == replace(second, fit=None)
    asked, again = (
        [(one.name, one.asked, one.baseline, one.tolerance, one.version) for one in compared]
        for compared in (comparisons(last_plan(scene, -2)), comparisons(last_plan(scene)))
    )
    assert asked == again
    assert ("version 3", ClassList.OWN, "live version and settled version", 0.05, 3) in asked
    assert scene.job(job).beside == Beside(
        live=3, inherited=(1, 2, 3), settled={"2": 2, "3": 3, "4": 4}
    )


def test_a_later_claim_asks_about_the_same_images_whatever_was_added_to_holdouts_since(
    scene: Scene,
) -> None:
    model = scene_with_line(scene)
    first, later = (
        scene.frozen("cat", "dog", each=10, offset=offset, forms=1000) for offset in (600, 700)
    )
    grow(scene, model, first)
    job = scene.update(model, scene.frozen("ant", "bee", each=10, offset=400), parent=3, recipe=FIT)

    def add_more_and_die(monitor: Monitor) -> None:
        grow(scene, model, later)
        raise DatabaseUnavailable

    scene.script.training = add_more_and_die
    assert scene.run().status is JobStatus.QUEUED
    scene.script.training = nothing
    assert scene.run().status is JobStatus.SUCCEEDED
    asked, again = (
        {query.digest for _, queries in last_plan(scene, task).questions for query in queries}
        for task in (-2, -1)
    )
    assert asked == again
    assert len(scene.job(job).beside.added) == 1


def test_weights_that_an_unfinished_update_is_compared_with_are_kept(scene: Scene) -> None:
    model = scene_with_line(scene)
    job = scene.update(model, scene.frozen("ant", "bee", each=10, offset=400), parent=1, recipe=FIT)
    scene.script.training = lambda monitor: (_ for _ in ()).throw(DatabaseUnavailable)
    scene.run()
    assert versions_of(scene.job(job), scene.versions(model)) == {1, 2, 3}


def test_a_version_that_an_unfinished_update_may_not_lose_is_not_deleted(scene: Scene) -> None:
    model = scene_with_line(scene)
    scene.learn(model, scene.frozen("fox", "cow", each=10, offset=500), parent=1)
    put_live(scene, model, 4, 3)  # which goes on with what version 3 has learned
    with scene.platform.transactions() as work:
        work[Versions].release_weights(model.id, 3, NOW)  # so that it is not asked itself
        work.commit()
    job = scene.update(model, scene.frozen("ant", "bee", each=10, offset=400), parent=1, recipe=FIT)
    scene.script.training = lambda monitor: (_ for _ in ()).throw(DatabaseUnavailable)
    scene.run()
    assert scene.job(job).beside.lost == (2, 3, 4)
    with pytest.raises(InUse) as told:
        delete_version(scene.platform, model=model.name, version=3, reason="a test")
    assert told.value.facts == {"jobs": [job.id]}


@pytest.mark.parametrize("number", [3, 2])
def test_an_update_whose_share_a_marked_version_has_chosen_makes_no_version(
    scene: Scene, number: int
) -> None:
    """Version 3 is live, and version 2 the settled one of its holdout; the parent is older."""
    model = scene_with_line(scene)

    def mark(monitor: Monitor) -> None:
        with scene.platform.transactions() as work:
            work[Versions].mark(model.id, number, ErasureId("erasure_1"))
            work.commit()

    scene.script.training = mark
    scene.update(model, scene.frozen("ant", "bee", each=10, offset=400), parent=1, recipe=FIT)
    assert scene.run().error["code"] == "learned_erased_images"
    assert len(scene.versions(model)) == 3


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_others_may_write_while_what_an_update_has_to_fit_is_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = scene_with_line(scene)

    def planned(**given: Any) -> EvaluationPlan:
        with scene.platform.transactions() as work:  # waits for any other that writes
            work[Models].get(model.id)
        return plan_queries(**given)

    monkeypatch.setattr(fitting, "plan_queries", planned)
    scene.learn(model, scene.frozen("ant", "bee", each=10, offset=400), parent=3, recipe=FIT)


def test_a_repeated_update_takes_the_share_of_the_first(scene: Scene) -> None:
    model = scene_with_line(scene)
    scene.script.notes = {"mixing": 0.7}
    scene.learn(model, scene.frozen("ant", "bee", each=10, offset=400), parent=3, recipe=FIT)

    def again(number: int) -> TrainingSpec:
        with scene.platform.transactions(read_only=True) as work:
            inputs = inputs_of_version(work, scene.version(model, number))
        return spec_of(scene.platform, inputs)

    assert (again(4).share, again(4).fit) == (0.7, None)
    scene.script.notes = {"mixing": 0.6}  # as `wise` writes them, which chooses again
    scene.learn(model, scene.frozen("fox", "cow", each=10, offset=500), parent=3)
    assert again(5).share is None
