"""Versions, images and manifests that arrive while garbage is collected are kept."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

import pytest

from core.database.work import Transactions
from core.datasets.freeze import freeze
from core.datasets.rows import Datasets
from core.errors import ArtifactsUnavailable
from core.jobs.rules import Monitor
from core.registry.versions import Model
from core.upkeep.gc import collect_garbage
from core.upkeep.rows import ArtifactRoots
from core.values import Digest
from tests.support.api.seeds import some_weights
from tests.support.factories import NOW, TESTER, a_dataset, a_row, digest
from tests.support.memory_artifacts import MemoryArtifacts
from tests.support.scene import Scene
from tests.support.storage.collecting import tidy, whole


@pytest.fixture
def model(scene: Scene) -> Model:
    return scene.model()


class Beside(MemoryArtifacts):
    """Lets something happen just before an artifact is collected."""

    happens: Callable[[Digest], object] = staticmethod(lambda digest: None)

    def delete_if_older(self, digest: Digest, older_than_s: float) -> bool:
        self.happens(digest)
        return super().delete_if_older(digest, older_than_s)


def test_an_update_that_publishes_what_is_being_collected_keeps_it(
    transactions: Transactions,
) -> None:
    """The worst moment: orphans of a dead attempt, published again after the rows were read."""
    artifacts = Beside()
    scene = Scene(transactions, artifacts)
    model = scene.model()
    scene.update(model, scene.frozen("cat", "dog"))

    def die(monitor: Monitor) -> None:
        raise ArtifactsUnavailable

    scene.script.evaluating = die
    with scene.platform.transactions(read_only=True) as work:
        known = work[ArtifactRoots].weights()
    orphans = some_weights(scene.platform, 101)  # what the first attempt makes
    statistics = {name: artifacts.put(f"features of {name}".encode()) for name in ("cat", "dog")}
    assert orphans.digest not in known
    artifacts.happens = lambda _: scene.run() if not scene.script.tasks else None
    tidied = tidy(scene)
    assert tidied.collected == {}
    made = scene.version(model, 2)
    assert (made.digest, made.feature_statistics) == (orphans.digest, statistics)
    assert whole(scene, made)
    assert all(map(artifacts.has, statistics.values()))


def test_an_image_that_is_uploaded_again_is_kept(transactions: Transactions) -> None:
    artifacts = Beside()
    scene = Scene(transactions, artifacts)
    dataset = a_dataset()
    orphan = artifacts.put(b"an image that was removed once")

    def upload(_: Digest) -> None:
        row = a_row(dataset, digest("pixels"), "cat")
        row = replace(row, image=replace(row.image, artifact=artifacts.put(artifacts.get(orphan))))
        with scene.platform.transactions() as work:
            work[Datasets].add(dataset)
            work[Datasets].add_image(row)
            work.commit()

    artifacts.happens = upload
    assert tidy(scene).collected == {}
    assert artifacts.has(orphan)


def test_an_image_whose_form_is_replaced_while_a_dataset_is_frozen_is_kept(
    scene: Scene, artifacts: MemoryArtifacts
) -> None:
    """The manifest names the form that was read, and no row does until it is committed."""
    frozen, other = a_dataset(), a_dataset()
    row = a_row(frozen, digest("pixels"), "cat")
    old, new = (
        replace(row.image, artifact=artifacts.put(form)) for form in (b"by one Pillow", b"by two")
    )
    with scene.platform.transactions() as work:
        work[Datasets].add(frozen)
        work[Datasets].add(other)
        work[Datasets].add_image(replace(row, image=old))
        work.commit()

    def upload() -> None:
        with scene.platform.transactions() as work:
            work[Datasets].add_image(replace(row, dataset=other.id, image=new))
            work.commit()

    with ThreadPoolExecutor(2) as pool, scene.platform.transactions() as work:
        freeze(work, artifacts, frozen, NOW)
        replacing = pool.submit(upload)
        wait([replacing], timeout=0.5)  # it waits for us, or has replaced the form
        artifacts.put_at[old.artifact] = 0.0  # all else was put just now
        collecting = pool.submit(collect_garbage, scene.platform, TESTER)
        wait([collecting], timeout=0.5)  # it waits for us, or has ended
        work.commit()
        replacing.result(10)
        collecting.result(10)
    assert artifacts.has(old.artifact)
    assert artifacts.has(new.artifact)
