"""Freezing beside other writers."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from core.database.engine import Limits
from core.database.work import Transactions
from core.datasets.edit import create_dataset, move_images, rename_class
from core.datasets.freeze import freeze_version, read_manifest
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset
from core.values import Digest
from tests.support.factories import a_dataset, a_row, an_image, digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene

TRIES = 3  # as often as freezing tries beside other writers

FIRST, SECOND = digest("first"), digest("second")

Change = Callable[[Scene, Dataset], object]


class WritingArtifacts(MemoryArtifacts):
    """A store during whose first writes something else happens, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], object]] = []

    def put(self, data: bytes | memoryview) -> Digest:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return super().put(data)


@pytest.fixture
def artifacts() -> WritingArtifacts:
    return WritingArtifacts()


@pytest.fixture
def scene(url: str, artifacts: WritingArtifacts) -> Iterator[Scene]:
    """Whoever has to wait for a writer gives up at once, instead of after 15 seconds."""
    with closing(Transactions(url, limits=Limits(lock_s=0.05))) as transactions:
        yield Scene(transactions, artifacts)


@pytest.fixture
def dataset(scene: Scene) -> Dataset:
    made = a_dataset()
    scene.draft(made, a_row(made, FIRST, "cat"))
    return made


def add(scene: Scene, dataset: Dataset, pixels: Digest = SECOND) -> None:
    with scene.platform.transactions() as work:
        work[Datasets].add_images(dataset.id, [a_row(dataset, pixels, "cat")])
        work.commit()


def replace_by_another(scene: Scene, dataset: Dataset) -> None:
    with scene.platform.transactions() as work:
        work[Datasets].add_images(dataset.id, [a_row(dataset, SECOND, "cat")])
        work[Datasets].remove_image(dataset.id, FIRST)
        work.commit()


def rename(scene: Scene, dataset: Dataset) -> None:
    rename_class(scene.platform, dataset.id, "cat", to="lynx", merge=False)


def move(scene: Scene, dataset: Dataset) -> None:
    move_images(scene.platform, dataset.id, {FIRST: "lynx"})


def open_another(scene: Scene, dataset: Dataset) -> None:
    create_dataset(scene.platform, "meanwhile", dataset.kind)


@pytest.mark.parametrize(
    ("change", "held"),
    [
        (open_another, {FIRST: "cat"}),
        (add, {FIRST: "cat", SECOND: "cat"}),
        (replace_by_another, {SECOND: "cat"}),
        (rename, {FIRST: "lynx"}),
        (move, {FIRST: "lynx"}),
    ],
)
def test_version_holds_what_others_wrote_before_it_was_written(
    scene: Scene,
    artifacts: WritingArtifacts,
    dataset: Dataset,
    change: Change,
    held: dict[Digest, str],
) -> None:
    artifacts.meanwhile = [lambda: change(scene, dataset)]
    version = freeze_version(scene.platform, dataset.id)
    assert not artifacts.meanwhile
    assert (version.number, version.images) == (1, len(held))
    assert version.classes == tuple(set(held.values()))
    entries = read_manifest(artifacts, version.manifest).entries
    assert {entry.pixels: entry.class_name for entry in entries} == held


def test_dataset_that_always_changes_is_frozen_all_the_same(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    late = [digest(f"late {n}") for n in range(TRIES)]
    artifacts.meanwhile = [lambda one=one: add(scene, dataset, one) for one in late]  # type: ignore[misc]
    version = freeze_version(scene.platform, dataset.id)
    entries = read_manifest(artifacts, version.manifest).entries
    assert {entry.pixels for entry in entries} == {FIRST, *late}


def test_version_names_the_bytes_that_another_dataset_has_renewed_meanwhile(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    newer = an_image(FIRST, artifact=digest("another encoder"))

    def renew() -> None:
        other = a_dataset()
        scene.draft(other, replace(a_row(other, newer.pixels, "dog"), image=newer))

    artifacts.meanwhile = [renew]
    version = freeze_version(scene.platform, dataset.id)
    (entry,) = read_manifest(artifacts, version.manifest).entries
    assert entry.artifact == newer.artifact
