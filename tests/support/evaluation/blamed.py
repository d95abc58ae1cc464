"""A model whose second version was taught by several uploads, one of which costs it a class."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from core.blame.order import order_blame
from core.datasets.freeze import freeze
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.thumbnail_rows import PlacedGroups
from core.evaluation.answers import Answers
from core.evaluation.queries import EvalQuery
from core.jobs.orders import BlameOrder
from core.jobs.queue import JobRequest
from core.jobs.rules import Job, Monitor
from core.registry.versions import Model
from core.training.trainer import Trained, TrainingSpec
from core.values import Digest
from tests.support.evaluation.each_class import answer_knowing
from tests.support.evaluation.judged import judged_by
from tests.support.factories import NOW, a_dataset, a_row, by_hash, pixels_on
from tests.support.notifiers import SilentNotifier
from tests.support.ordering import ME
from tests.support.scene import Scene

CLASSES = ("cat", "dog")

SUITE_CLASSES = ("hat", "cat")

UPLOADS, EACH = 3, 2  # images of each class in an upload

BAD = 1  # the index of the upload that is to blame


@dataclass
class Blamed:
    """The model, what its uploads brought, and what was trained, each with its checkpoint."""

    scene: Scene
    model: Model
    uploads: list[set[Digest]]
    trained: list[tuple[TrainingSpec, Digest | None]] = field(default_factory=list)

    @property
    def left_out(self) -> list[set[Digest]]:
        """The images that each training so far went without."""
        every = set().union(*self.uploads)
        return [every - {entry.pixels for entry in spec.images} for spec, _ in self.trained]


def a_blamed_model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Blamed:
    """A model judged by the suite "easy"; whoever learns from the bad upload forgets cats."""
    model = scene.model()
    judged_by(scene, model)
    scene.suite(model, scene.frozen(*SUITE_CLASSES, each=20, offset=100), name="easy")
    found = Blamed(scene, model, _teach(scene))
    _learn(found, monkeypatch)
    with scene.platform.transactions(read_only=True) as work:
        version = work[Datasets].version(work[Datasets].get("taught").id, 1)
    scene.learn(model, version, auto_promote=False)
    found.trained.clear()
    return found


def ordered(blamed: Blamed, request: JobRequest = ME, **changes: Any) -> Job:
    """Queue a blame of version 2, by upload, about cats."""
    given: dict[str, Any] = {"version": 2, "class_name": "CAT"}
    order = BlameOrder(**given | changes)
    return order_blame(blamed.scene.platform, SilentNotifier(), request, model="demo", order=order)


def _teach(scene: Scene) -> list[set[Digest]]:
    """Freeze the dataset "taught"; the training images of each upload."""
    dataset = a_dataset(name="taught")
    train = pixels_on(Side.TRAIN, UPLOADS * EACH * len(CLASSES))
    holdout = pixels_on(Side.HOLDOUT, 8)
    form = scene.platform.artifacts.put(b"the form of all of them")
    uploads: list[set[Digest]] = [set() for _ in range(UPLOADS)]
    rows = []
    for index, pixels in enumerate((*train, *holdout)):
        number = index % UPLOADS
        row = a_row(dataset, pixels, CLASSES[index // UPLOADS % len(CLASSES)])
        image = replace(row.image, artifact=form)
        rows.append(replace(row, image=image, added_at=NOW + timedelta(minutes=number)))
        if pixels in train:
            uploads[number].add(pixels)
    with scene.platform.transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, rows)
        work[PlacedGroups].add(by_hash((*train, *holdout)))
        freeze(work, scene.platform.artifacts, dataset, NOW)
        work.commit()
    return uploads


def _learn(blamed: Blamed, monkeypatch: pytest.MonkeyPatch) -> None:
    script, specs = blamed.scene.script, dict[Digest, TrainingSpec]()
    train, answer_all = script.train, script.answer

    def learn(spec: TrainingSpec, *, resume: Digest | None, monitor: Monitor) -> Trained:
        blamed.trained.append((spec, resume))
        monitor.advance("loading", 0, 1)
        made = train(spec, resume=resume, monitor=monitor)
        specs[made.weights.digest] = spec
        return made

    def answer(
        version: Digest, questions: Sequence[EvalQuery], monitor: Monitor
    ) -> Sequence[Answers]:
        answer_all(version, questions, monitor)
        spec = specs.get(version)
        images = {entry.pixels for entry in spec.images} if spec else set()
        known = {"hat", "cat", "dog"} - ({"cat"} if images & blamed.uploads[BAD] else set())
        return [answer_knowing(question, known) for question in questions]

    monkeypatch.setattr(script, "train", learn)
    monkeypatch.setattr(script, "answer", answer)
