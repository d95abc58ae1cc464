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

CHANGES = 3  # as often as freezing tries beside other writers


class WritingArtifacts(MemoryArtifacts):
    """A store during whose first writes something else happens, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Callable[[], None]] = []

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
    """A dataset of one image."""
    made = a_dataset()
    with scene.platform.transactions() as work:
        work[Datasets].add(made)
        work[Datasets].add_image(a_row(made, digest("first"), "cat"))
        work.commit()
    return made


def adding(scene: Scene, dataset: Dataset, name: str) -> Callable[[], None]:
    def add() -> None:
        with scene.platform.transactions() as work:
            work[Datasets].add_image(a_row(dataset, digest(name), "cat"))
            work.commit()

    return add


def frozen(scene: Scene, dataset: Dataset) -> tuple[int, set[Digest]]:
    """The next version's number and images."""
    version = freeze_version(scene.platform, dataset.id)
    manifest = read_manifest(scene.platform.artifacts, version.manifest)
    assert version.images == len(manifest.entries)
    return version.number, {entry.pixels for entry in manifest.entries}


def test_others_write_while_a_dataset_is_frozen(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    artifacts.meanwhile = [lambda: _open(scene)]
    assert frozen(scene, dataset) == (1, {digest("first")})
    with scene.platform.transactions(read_only=True) as work:
        assert work[Datasets].get("meanwhile").name == "meanwhile"


def _open(scene: Scene) -> None:
    create_dataset(scene.platform, "meanwhile", a_dataset().kind)


def test_version_holds_what_came_before_it_was_written(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    artifacts.meanwhile = [adding(scene, dataset, "second")]
    assert frozen(scene, dataset) == (1, {digest("first"), digest("second")})


def test_version_holds_no_image_that_was_removed_before_it_was_written(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    def remove() -> None:
        with scene.platform.transactions() as work:
            work[Datasets].remove_image(dataset.id, digest("first"))
            work.commit()

    adding(scene, dataset, "second")()
    artifacts.meanwhile = [remove]
    assert frozen(scene, dataset) == (1, {digest("second")})


@pytest.mark.parametrize("edit", ["rename", "move"])
def test_version_has_the_classes_that_were_edited_before_it_was_written(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset, edit: str
) -> None:
    def change() -> None:
        if edit == "rename":
            rename_class(scene.platform, dataset.id, "cat", to="lynx", merge=False)
        else:
            move_images(scene.platform, dataset.id, [digest("first")], to="lynx")

    artifacts.meanwhile = [change]
    assert freeze_version(scene.platform, dataset.id).classes == ("lynx",)


def test_dataset_that_always_changes_is_frozen_all_the_same(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    artifacts.meanwhile = [adding(scene, dataset, f"late {n}") for n in range(CHANGES)]
    late = {digest(f"late {n}") for n in range(CHANGES)}
    assert frozen(scene, dataset) == (1, {digest("first"), *late})


def test_version_names_the_bytes_that_another_dataset_has_renewed_meanwhile(
    scene: Scene, artifacts: WritingArtifacts, dataset: Dataset
) -> None:
    newer = an_image(digest("first"), artifact=digest("another encoder"))

    def renew() -> None:
        other = a_dataset()
        with scene.platform.transactions() as work:
            work[Datasets].add(other)
            work[Datasets].add_image(replace(a_row(other, newer.pixels, "dog"), image=newer))
            work.commit()

    artifacts.meanwhile = [renew]
    version = freeze_version(scene.platform, dataset.id)
    (entry,) = read_manifest(artifacts, version.manifest).entries
    assert entry.artifact == newer.artifact
