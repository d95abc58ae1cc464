"""Deletion of dataset versions, and what the leak check knows afterwards."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from core.datasets import edit as stored_images
from core.datasets.edit import remove_image
from core.datasets.freeze import freeze_version
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.errors import DatasetNotFound, DatasetVersionNotFound, ImageFrozen, InUse
from core.jobs.orders import UpdateOrder
from core.jobs.queue import JobRequest
from core.recipes.rules import Recipe
from core.training.order import order_update
from core.upkeep.delete import delete_dataset, delete_dataset_version, delete_version
from tests.support.factories import TESTER, a_dataset, a_row, pixels_on
from tests.support.notifiers import SilentNotifier
from tests.support.scene import Scene


def test_a_version_that_a_model_has_learned_from_stays(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    scene.update(model, data, auto_promote=False)
    scene.run()
    for delete in (
        lambda: delete_dataset(scene.platform, dataset=data.dataset),
        lambda: delete_dataset_version(scene.platform, dataset=data.dataset, version=1),
    ):
        with pytest.raises(InUse) as told:
            delete()
        assert told.value.facts == {"versions": ["demo:2"]}
    delete_version(scene.platform, model=model.name, version=2)
    delete_dataset(scene.platform, dataset=data.dataset)
    with (
        scene.platform.transactions(read_only=True) as work,
        pytest.raises(DatasetNotFound),
    ):
        work[Datasets].get(data.dataset)


def test_images_that_a_later_version_trains_on_are_still_known_as_trained(scene: Scene) -> None:
    """They are noted once, of the first version that has them."""
    dataset, (kept, gone) = a_dataset(), pixels_on(Side.TRAIN, 2)
    with scene.platform.transactions() as work:
        work[Datasets].add(dataset)
        for pixels in (kept, gone):
            work[Datasets].add_image(a_row(dataset, pixels, "cat"))
        work.commit()
    freeze_version(scene.platform, dataset.id)
    with scene.platform.transactions() as work:
        work[Datasets].remove_image(dataset.id, gone)
        work.commit()
    for _ in range(2):
        freeze_version(scene.platform, dataset.id)
    for number, trained in ((1, {kept}), (2, {kept}), (3, set())):
        delete_dataset_version(scene.platform, dataset=dataset.id, version=number)
        with scene.platform.transactions(read_only=True) as work:
            found = work[Datasets].trained_groups({kept, gone}, except_for=a_dataset().id)
        assert found == trained
    with pytest.raises(DatasetVersionNotFound):
        delete_dataset_version(scene.platform, dataset=dataset.id, version=3)


def test_an_order_and_a_deletion_at_once_leave_no_job_without_its_images(scene: Scene) -> None:
    model, data = scene.model(), scene.frozen("cat", "dog")
    checked, deleting = Event(), Event()
    request = JobRequest(principal=TESTER)
    order = UpdateOrder(dataset=data.dataset, dataset_version=1, recipe=Recipe())
    read = scene.platform.artifacts.get

    def slow(digest, *rest):  # type: ignore[no-untyped-def]
        if digest == data.manifest and not checked.is_set():
            checked.set()
            deleting.wait(0.3)
        return read(digest, *rest)

    scene.platform.artifacts.get = slow  # type: ignore[method-assign]

    def delete() -> bool:
        checked.wait(5)
        try:
            delete_dataset(scene.platform, dataset=data.dataset)
        except InUse:
            return False
        finally:
            deleting.set()
        return True

    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(delete)
        order_update(scene.platform, SilentNotifier(), request, model=model.name, order=order)
        assert not deleted.result()


def test_an_image_that_is_frozen_while_it_is_removed_stays(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, (pixels, _) = a_dataset(), pixels_on(Side.TRAIN, 2)
    with scene.platform.transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_image(a_row(dataset, pixels, "cat"))
        work.commit()
    check = stored_images._require_draft_only

    def then_freeze(*given):  # type: ignore[no-untyped-def]
        check(*given)
        freeze_version(scene.platform, dataset.id)

    monkeypatch.setattr(stored_images, "_require_draft_only", then_freeze)
    with pytest.raises(ImageFrozen):
        remove_image(scene.platform, dataset.id, pixels)
