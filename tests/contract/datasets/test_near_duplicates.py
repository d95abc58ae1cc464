"""Which group an arriving image joins, for ever."""

import pytest

from core.datasets.edit import create_dataset
from core.datasets.freeze import freeze_version
from core.datasets.manifests import Part, Side
from core.datasets.receive import receive, record_uploads, search_uploads
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind, SuiteKind
from core.datasets.suites import create_suite
from core.datasets.thumbnail_rows import Thumbnails
from core.datasets.uploads import Receipt, Upload
from core.errors import ImageInTraining
from core.values import Digest
from tests.support.factories import NOW, an_image, part_of, pixels_on
from tests.support.scene import Scene


@pytest.fixture
def dataset(scene: Scene) -> Dataset:
    return create_dataset(scene.platform, "pets", DatasetKind.LABELLED)


def looking(pixels: Digest, level: int) -> Upload:
    """An image of one grey."""
    thumbnail = bytes([level] * 192).hex()
    return Upload(text="cat", file_label="a.png", image=an_image(pixels), thumbnail=thumbnail)


def sent(scene: Scene, dataset: Dataset, *uploads: Upload) -> list[Receipt]:
    return record_uploads(scene.platform, dataset, uploads)


def examined(scene: Scene, upload: Upload) -> None:
    """Make a suite of one image."""
    exam = create_dataset(scene.platform, "exam", DatasetKind.LABELLED)
    sent(scene, exam, upload)
    freeze_version(scene.platform, exam.id)
    create_suite(
        scene.platform, name="asked", kind=SuiteKind.ZERO_SHOT, dataset=exam.id, dataset_version=1
    )


def test_image_that_comes_back_stays_where_it_was(scene: Scene, dataset: Dataset) -> None:
    train, holdout = pixels_on(Side.TRAIN, 1)[0], pixels_on(Side.HOLDOUT, 1)[0]
    sent(scene, dataset, looking(train, 100), looking(holdout, 103))
    freeze_version(scene.platform, dataset.id)
    other = create_dataset(scene.platform, "others", DatasetKind.LABELLED)
    again = sent(scene, other, looking(holdout, 103), looking(train, 100))
    assert [(one.pixels, one.side) for one in again] == [
        (holdout, Side.TRAIN),
        (train, Side.TRAIN),
    ]


def test_look_alike_of_a_look_alike_joins_the_same_group(scene: Scene, dataset: Dataset) -> None:
    first, *later = pixels_on(Side.TRAIN, 3)
    uploads = [
        looking(pixels, level)
        for pixels, level in zip([first, *later], (100, 104, 108), strict=True)
    ]
    receipts = sent(scene, dataset, *uploads)
    assert [one.near_duplicate_of for one in receipts] == [None, first, first]


def test_images_of_one_thumbnail_are_compared_with_what_came_between_them(
    scene: Scene, dataset: Dataset
) -> None:
    first, *same = pixels_on(Side.TRAIN, 3)
    (between,) = pixels_on(Side.HOLDOUT, 1)
    receipts = sent(
        scene,
        dataset,
        looking(first, 100),
        looking(between, 104),
        looking(same[0], 100),
        looking(same[1], 104),
    )
    assert [one.near_duplicate_of for one in receipts] == [None, first, first, first]


def test_image_that_looks_like_both_sides_is_refused(scene: Scene, dataset: Dataset) -> None:
    train, between = pixels_on(Side.TRAIN, 2)
    (holdout,) = pixels_on(Side.HOLDOUT, 1)
    receipts = sent(
        scene, dataset, looking(train, 100), looking(holdout, 108), looking(between, 104)
    )
    codes = [one.refusal and one.refusal.code for one in receipts]
    assert codes == [None, None, "split_conflict"]
    with scene.platform.transactions(read_only=True) as work:
        assert work[Datasets].count(dataset.id) == {"cat": 2}
        assert work[Thumbnails].originals([between]) == {}


def test_image_that_looks_like_a_suites_and_like_another_more_is_not_learned_from(
    scene: Scene, dataset: Dataset
) -> None:
    asked, other, between = [one for one in pixels_on(Side.TRAIN, 20) if part_of(one) is Part.TEST][
        :3
    ]
    examined(scene, looking(asked, 100))
    same = looking(asked, 100)
    receipts = sent(scene, dataset, same, looking(other, 108), looking(between, 105))
    codes = [one.refusal and one.refusal.code for one in receipts]
    assert codes == ["image_in_suite", None, "image_in_suite"]


def test_image_that_looks_like_a_training_image_becomes_no_suite(
    scene: Scene, dataset: Dataset
) -> None:
    taught, alike = pixels_on(Side.TRAIN, 2)
    sent(scene, dataset, looking(taught, 100))
    freeze_version(scene.platform, dataset.id)
    with pytest.raises(ImageInTraining):
        examined(scene, looking(alike, 103))


def test_what_came_after_the_search_is_seen_as_well(scene: Scene, dataset: Dataset) -> None:
    first, second = pixels_on(Side.TRAIN, 2)
    later = looking(second, 103)
    searched = search_uploads(scene.platform, [later])
    sent(scene, dataset, looking(first, 100))
    with scene.platform.transactions() as work:
        (copy,) = receive(work, dataset, [later], searched, NOW)
        work.commit()
    assert copy.near_duplicate_of == first


def test_search_does_not_find_what_was_rolled_back(scene: Scene, dataset: Dataset) -> None:
    one = looking(pixels_on(Side.TRAIN, 1)[0], 100)
    searched = search_uploads(scene.platform, [one])
    with scene.platform.transactions() as work:
        receive(work, dataset, [one], searched, NOW)
        assert work[Thumbnails].all().near([one.thumbnail])
    assert not search_uploads(scene.platform, [one]).known
