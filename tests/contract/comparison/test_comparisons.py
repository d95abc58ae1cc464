"""Comparisons from the answers that evaluations have kept."""

from dataclasses import replace
from unittest.mock import ANY

import pytest

from core.blame.updates import blame_updates
from core.comparison.compare import compare_versions, flips_since
from core.errors import AnswersMissing, ClassNotFound
from core.evaluation.holdouts import holdout_name
from core.evaluation.rows import AnswerCache
from core.jobs.rules import JobStatus
from core.registry.configure import configure_model
from core.registry.versions import Model
from core.upkeep.rows import ArtifactRoots
from core.values import Digest
from tests.support.api.seeds import a_candidate
from tests.support.evaluation.each_class import knowing_each
from tests.support.evaluation.judged import CATS, OWLS, SUITES, judged_by
from tests.support.factories import digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene

HAT, BAG = SUITES

# For what is made of the rows; the tests without it read them from both databases.
ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model with two updates: the first forgets hats and learns bags, the second forgets cats."""
    made = scene.model()
    judged_by(scene, made)
    scene.suite(made, scene.frozen(*SUITES, each=6, offset=500), name="easy")
    known = {1: (HAT,), 2: (BAG, *CATS), 3: (BAG, "dog", *OWLS), 4: ()}
    knowing_each(scene, made, monkeypatch, known)
    teach(scene, made, *CATS)
    teach(scene, made, *OWLS, parent=2)
    return made


def teach(scene: Scene, model: Model, *classes: str, parent: int = 1) -> None:
    """Teach some classes and see it through; nothing goes live."""
    data = scene.frozen(*classes, each=6, offset=40 * len(scene.versions(model)))
    scene.update(model, data, parent=parent, auto_promote=False)
    assert scene.run().status is JobStatus.SUCCEEDED


def digests(what: str, count: int) -> list[Digest]:
    return [digest(f"{what} {number}") for number in range(count)]


def suite_images(scene: Scene, class_name: str) -> int:
    """The number of the suite's test images of a class."""
    found = compare_versions(scene.platform, "demo", 1, 2).comparison.changes
    (table,) = [table for table in found if table.name == "easy"]
    return {change.class_name: change.images for change in table.classes}[class_name]


@ON_SQLITE
def test_what_one_version_has_not_answered_is_left_out(scene: Scene, model: Model) -> None:
    scene.suite(model, scene.frozen("sun", "sea", offset=700), name="later")
    teach(scene, model, "ant", "bee", parent=3)
    found = compare_versions(scene.platform, "demo", 2, 4)
    assert found.left_out == [("later", 2), ("version 4", 2)]
    assert {measure.name for measure in found.comparison.measures} == {
        "easy",
        "version 2",
        "version 3",
        "2 updates",
    }
    whole = compare_versions(scene.platform, "demo", 1, 4)
    assert {"later", "version 2", "version 3", "version 4", "3 updates"} < {
        measure.name for measure in whole.comparison.measures
    }
    # the reports still name what the model is no longer judged by
    configure_model(scene.platform, "demo", suites=[], policy=None, reason="a test")
    assert compare_versions(scene.platform, "demo", 2, 4) == replace(found, model=ANY)


@ON_SQLITE
def test_versions_that_were_not_evaluated_or_whose_answers_are_gone_cannot_be_compared(
    scene: Scene, model: Model, artifacts: MemoryArtifacts
) -> None:
    a_candidate(scene.platform, model)
    with pytest.raises(AnswersMissing) as missing:
        flips_since(scene.platform, "demo", 4, "parent")
    assert missing.value.facts == {"missing": [{"suite": "easy", "version": 4}]}
    with scene.platform.transactions(read_only=True) as work:
        kept = work[ArtifactRoots].answers()
    for each in kept:
        artifacts.delete(each)
    with pytest.raises(AnswersMissing):
        compare_versions(scene.platform, "demo", 2, 3)
    with pytest.raises(AnswersMissing):
        blame_updates(scene.platform, "demo", HAT, 3)


def test_stored_answers_are_found_by_version_and_query(scene: Scene) -> None:
    versions, queries = (digests("version", 3), digests("query", 2))
    with scene.platform.transactions() as work:
        for version in versions[:2]:
            for query in queries:
                work[AnswerCache].add(version, query, digest(version + query))
        work.commit()
    with scene.platform.transactions(read_only=True) as work:
        found = work[AnswerCache].stored(versions[1:], queries[:1])
        assert found == {(versions[1], queries[0]): digest(versions[1] + queries[0])}
        assert work[AnswerCache].stored(versions, []) == {}
        assert len(work[AnswerCache].stored(versions, queries)) == 4


def test_blame_names_the_update_that_cost_a_class(
    scene: Scene, model: Model, artifacts: MemoryArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, last, found = blame_updates(scene.platform, "demo", "HAT", 3)
    images = suite_images(scene, HAT)
    assert last.number == 3
    assert [(s.version, s.right) for s in found.curves[0].scores] == [(1, images), (2, 0), (3, 0)]
    assert found.fell is not None
    assert (found.fell.version, found.fell.lost, found.fell.clear) == (2, images, True)
    read: list[Digest] = []
    get = artifacts.get
    monkeypatch.setattr(artifacts, "get", lambda digest: (read.append(digest), get(digest))[1])
    _, _, found = blame_updates(scene.platform, "demo", "cat", 3)
    with scene.platform.transactions(read_only=True) as work:
        kept = work[ArtifactRoots].answers()
    assert len([digest for digest in read if digest in kept]) == 3  # the holdout, by each version
    (curve,) = found.curves  # of the holdout of the update that taught the class
    assert curve.name == holdout_name(scene.version(model, 2))
    assert [score.accuracy for score in curve.scores] == [0, 1, 0]
    assert found.fell is not None
    assert (found.fell.parent, found.fell.version) == (2, 3)
    _, last, found = blame_updates(scene.platform, "demo", HAT, None)
    assert (last.number, found.steps, found.fell) == (1, (), None)  # what is live
    with pytest.raises(ClassNotFound):
        blame_updates(scene.platform, "demo", "owl", 2)  # taught by version 3
