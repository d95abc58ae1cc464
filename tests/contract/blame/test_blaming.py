"""Blames: an update is trained again without each group of its images, and a class asked about."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.blame.blame_images import flat_rows, read_blame, read_finished
from core.datasets.freeze import freeze
from core.datasets.image_lists import Grouping
from core.datasets.rows import Datasets
from core.errors import StopRequested
from core.jobs.rules import Job, JobStatus, Monitor
from core.upkeep.rows import ArtifactRoots
from core.values import Digest, sha256
from tests.support.evaluation.blamed import BAD, EACH, UPLOADS, Blamed, ordered
from tests.support.evaluation.judged import judged_by, report
from tests.support.factories import NOW, a_dataset
from tests.support.memory_artifacts import MemoryArtifacts

ON_SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

STATE = b"a checkpoint of the trainer"


def report_of(blamed: Blamed, job: Job) -> Any:
    return read_blame(blamed.scene.platform, job.id)


def test_the_upload_that_costs_a_class_its_accuracy_is_named(
    blamed: Blamed, artifacts: MemoryArtifacts
) -> None:
    scene, job = blamed.scene, ordered(blamed)
    with scene.platform.transactions(read_only=True) as work:
        answered = work[ArtifactRoots].answers()
    ended = scene.run()
    assert (ended.status, ended.error, ended.checkpoint) == (JobStatus.SUCCEEDED, None, None)
    assert blamed.left_out == blamed.uploads
    report = report_of(blamed, job)
    (cat,) = report["classes"]
    assert [row["group"] for row in cat["groups"]] == [BAD + 1, 1, 3]
    worst = cat["groups"][0]
    assert (worst["right_before"], worst["right"], worst["clear"]) == (0, cat["images"], True)
    assert cat["summary"] == (
        "Look at group 2 first: without 4 training images (upload 2026-03-01T12:01:00.123456Z), "
        f"{cat['images']} of {cat['images']} test images of 'cat' are right instead of 0."
    )
    assert [row["gained"] for row in cat["groups"][1:]] == [0, 0]
    assert [set(group["pixels"]) for group in report["groups"]] == blamed.uploads
    assert report["groups"][0]["classes"] == {"cat": EACH, "dog": EACH}
    assert (report["version"], report["parent"], report["exact"]) == (2, 1, True)
    assert report["asked"] == ["easy", "version 2"]
    assert ended.result is not None
    assert ended.result["blamed"] == [{"class": "cat", "group": BAD + 1}]
    assert ended.parent_version == 1
    rows = list(flat_rows(report))
    assert [(row["class"], row["group"], row["images"], row["tested"]) for row in rows] == [
        ("cat", group, 2 * EACH, cat["images"]) for group in (2, 1, 3)
    ]
    # nothing of it is a version, live, an answer that verdicts count, or left to resume from
    assert [version.number for version in scene.versions(blamed.model)] == [1, 2]
    assert scene.live(blamed.model) == 1
    with scene.platform.transactions(read_only=True) as work:
        assert work[ArtifactRoots].answers() == answered
        assert Digest(ended.result["report"]) in work[ArtifactRoots].reports()
        assert not {group["digest"] for group in report["groups"]} & work[ArtifactRoots].weights()
    assert not [data for data in artifacts.bytes_of.values() if b'"fence"' in data]
    told = [event.data for event in scene.events(job) if event.kind == "left_out"]
    assert told == [{"group": n, "groups": UPLOADS, "images": 2 * EACH} for n in (1, 2, 3)]
    progress = [event.data for event in scene.events(job) if event.kind == "phase"]
    assert {data["group"] for data in progress} == {1, 2, 3}


@ON_SQLITE
def test_each_group_spends_as_much_of_a_lines_budget_as_a_version(blamed: Blamed) -> None:
    """Whoever orders the update without the best group has chosen it by the suite's test images."""
    scene, model = blamed.scene, blamed.model
    limits = {"line_error": 0.2, "holdout_tolerance": 0.5, "settled_tolerance": 0.5}
    judged_by(scene, model, name="line", **limits)
    teach_more(blamed)
    before = {one.name: one.verdicts for one in report(scene, model, 3).budgets}
    for suite in ("version 2", None):  # of which the second asks about "easy", too
        ordered(blamed, suite=suite)
        assert scene.run().error is None
    scene.update(model, scene.frozen("ant", "bee", offset=160), parent=2, auto_promote=False)
    assert scene.run().error is None
    after = {one.name: one.verdicts for one in report(scene, model, 4).budgets}
    assert (before["easy"], after["easy"]) == (2, 3 + UPLOADS)


@ON_SQLITE
def test_without_a_class_test_images_of_all_that_have_fallen_are_asked_about(
    blamed: Blamed,
) -> None:
    asked: set[str] = set()
    answer = blamed.scene.script.answer

    def noting(version: Digest, questions: Any, monitor: Monitor) -> Any:
        asked.update(entry.class_name for one in questions for entry in one.entries)
        return answer(version, questions, monitor)

    blamed.scene.script.answer = noting  # type: ignore[method-assign]
    job = ordered(blamed, class_name=None, suite="easy", by=Grouping.RANDOM, groups=2)
    assert blamed.scene.run().error is None
    assert asked == {"cat"}
    report = report_of(blamed, job)
    assert [one["class"] for one in report["classes"]] == ["cat"]
    assert report["asked"] == ["easy"]
    assert [group["name"] for group in report["groups"]] == ["random 1", "random 2"]
    assert "may be" not in report["classes"][0]["summary"]  # both groups have bad images


@ON_SQLITE
def test_by_class_the_class_is_neither_taught_nor_among_the_classes(blamed: Blamed) -> None:
    blamed.scene.suite(blamed.model, blamed.scene.frozen("sun", "sea", offset=700), name="open")
    teach_more(blamed)
    ordered(blamed, version=3, by=Grouping.CLASS)
    assert blamed.scene.run().error is None
    taught = [spec.classes for spec, _ in blamed.trained]
    assert taught == [("owl",), ("elk",)]
    assert {spec.learned for spec, _ in blamed.trained} == {("cat", "dog")}


@ON_SQLITE
def test_each_training_is_that_of_a_dataset_version_without_the_group(blamed: Blamed) -> None:
    ordered(blamed)
    assert blamed.scene.run().error is None
    without = [spec for spec, _ in blamed.trained]
    platform = blamed.scene.platform
    for out, spec in zip(blamed.uploads, without, strict=True):
        dataset = a_dataset()
        with platform.transactions() as work:
            rows = work[Datasets].images(work[Datasets].get("taught").id)
            work[Datasets].add(dataset)
            kept = [replace(row, dataset=dataset.id) for row in rows if row.image.pixels not in out]
            work[Datasets].add_images(dataset.id, kept)
            version = freeze(work, platform.artifacts, dataset, NOW)
            work.commit()
        blamed.scene.update(blamed.model, version, parent=1, auto_promote=False)
        assert blamed.scene.run().status is JobStatus.SUCCEEDED
        assert blamed.trained[-1][0] == spec


def teach_more(blamed: Blamed) -> None:
    """Make version 3 of version 2."""
    blamed.scene.update(
        blamed.model, blamed.scene.frozen("elk", "owl", offset=80), parent=2, auto_promote=False
    )
    assert blamed.scene.run().status is JobStatus.SUCCEEDED
    blamed.trained.clear()


def stopping(blamed: Blamed, at: int, before: Callable[[Monitor], object]) -> None:
    """Have the worker stop while it trains for the nth time, after something has happened."""

    def train(monitor: Monitor) -> None:
        monitor.advance("training", 1, 9)
        if len(blamed.trained) == at:
            before(monitor)
            raise StopRequested

    blamed.scene.script.training = train


@pytest.mark.parametrize("stops_at", ["the checkpoint", "the next step"])
def test_a_resumed_blame_trains_no_group_again_and_reports_the_same(
    blamed: Blamed, artifacts: MemoryArtifacts, stops_at: str
) -> None:
    scene = blamed.scene
    undisturbed = ordered(blamed)
    scene.run()
    blamed.trained.clear()
    state = sha256(STATE)

    def checkpoint(monitor: Monitor) -> None:
        scene.stopping = stops_at == "the checkpoint"
        monitor.save_checkpoint(artifacts.put(STATE), 1)

    stopping(blamed, 2, checkpoint)
    job = ordered(blamed)
    assert scene.run().status is JobStatus.QUEUED
    scene.stopping = False
    assert scene.run().status is JobStatus.SUCCEEDED
    out = blamed.uploads
    assert blamed.left_out == [out[0], out[1], out[1], out[2]]
    assert [resume for _, resume in blamed.trained] == [None, None, state, None]
    before, now = report_of(blamed, undisturbed), report_of(blamed, job)
    assert now["classes"] == before["classes"]
    assert state not in artifacts.bytes_of  # nor anything else that a job resumes from
    assert not [data for data in artifacts.bytes_of.values() if b'"fence"' in data]


@ON_SQLITE
def test_what_cannot_be_resumed_from_begins_again(
    blamed: Blamed, artifacts: MemoryArtifacts
) -> None:
    stopping(blamed, 2, lambda monitor: None)
    ordered(blamed)
    left = blamed.scene.run().checkpoint
    assert left is not None
    plan = json.loads(artifacts.get(left))["plan"]
    assert len(read_finished(artifacts, left, plan).groups) == 1
    assert read_finished(artifacts, left, sha256(b"another plan")).groups == ()
    artifacts.delete(left)
    assert blamed.scene.run().status is JobStatus.SUCCEEDED
    assert blamed.left_out == [*blamed.uploads[:2], *blamed.uploads]
