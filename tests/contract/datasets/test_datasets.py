from dataclasses import replace
from datetime import timedelta

import pytest

from core.database.work import Transactions, Work
from core.datasets.list_rows import SHOWN
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from core.datasets.thumbnail_rows import Thumbnails
from core.errors import (
    DatasetNotFound,
    DatasetVersionNotFound,
    ImageNotFound,
    LabelConflict,
    NameTaken,
)
from core.values import DatasetId
from tests.support.factories import (
    a_dataset,
    a_dataset_version,
    a_manifest,
    a_row,
    an_image,
    digest,
    pixels_on,
)


def test_dataset_is_found_by_id_or_name(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        assert work[Datasets].get(dataset.id) == dataset
        assert work[Datasets].get(dataset.name) == dataset
        with pytest.raises(DatasetNotFound):
            work[Datasets].get("other")


def test_id_goes_before_a_name_that_looks_like_it(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(a_dataset(name=dataset.id))
        work[Datasets].add(dataset)
        assert work[Datasets].get(dataset.id) == dataset


def test_name_is_taken_once(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        with pytest.raises(NameTaken):
            work[Datasets].add(a_dataset(name=dataset.name))


def test_pages_follow_one_another_without_gap(transactions: Transactions) -> None:
    made = [a_dataset() for _ in range(5)]
    with transactions() as work:
        for dataset in made:
            work[Datasets].add(dataset)
        first = work[Datasets].page(2, None)
        second = work[Datasets].page(2, first[-1].id)
        third = work[Datasets].page(2, second[-1].id)
    assert [*first, *second, *third] == made


def test_image_with_the_same_text_is_kept_once(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        for _ in range(2):
            work[Datasets].add_image(a_row(dataset, digest(1), "cat"))
        assert work[Datasets].images(dataset.id) == [a_row(dataset, digest(1), "cat")]
        assert work[Datasets].texts(dataset.id, [digest(1)]) == {digest(1): ["cat"]}
        assert work[Datasets].texts(dataset.id, [digest(2)]) == {}
        assert work[Datasets].count(dataset.id) == {"cat": 1}


def test_newest_versions_come_with_how_many_there_are(transactions: Transactions) -> None:
    dataset, empty = a_dataset(), a_dataset()
    manifest = a_manifest(dataset, {digest(1): "cat"})
    made = [a_dataset_version(dataset, number, manifest) for number in (1, 3)]
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add(empty)
        for version in made:
            work[Datasets].add_version(version, manifest)
        newest = work[Datasets].newest_versions([dataset.id, empty.id])
    assert newest == {dataset.id: (made[1], 2)}


def test_a_time_belongs_to_an_image_with_its_text(transactions: Transactions) -> None:
    dataset = a_dataset(kind=DatasetKind.CAPTIONED)
    first = a_row(dataset, digest(1), "a cat")
    second = replace(first, text="a black cat", added_at=first.added_at + timedelta(hours=1))
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, [first, second])
        found = work[Datasets].added_at(dataset.id, [digest(1), digest(2)])
    assert found == {(digest(1), row.text): row.added_at for row in (first, second)}


def test_labelled_image_cannot_get_a_second_class(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_image(a_row(dataset, digest(1), "cat"))
        with pytest.raises(LabelConflict):
            work[Datasets].add_image(a_row(dataset, digest(1), "dog"))


def test_captioned_image_has_many_captions_and_counts_once(transactions: Transactions) -> None:
    dataset = a_dataset(kind=DatasetKind.CAPTIONED)
    with transactions() as work:
        work[Datasets].add(dataset)
        for caption in ("a cat", "a black cat"):
            work[Datasets].add_image(a_row(dataset, digest(1), caption))
        assert work[Datasets].texts(dataset.id, [digest(1)]) == {
            digest(1): ["a black cat", "a cat"]
        }
        assert work[Datasets].count(dataset.id) == {"": 1}


def test_image_added_again_brings_its_bytes_up_to_date(transactions: Transactions) -> None:
    one, two = a_dataset(), a_dataset()
    newer = an_image(digest(1), artifact=digest("another encoder"))
    with transactions() as work:
        work[Datasets].add(one)
        work[Datasets].add(two)
        work[Datasets].add_image(a_row(one, digest(1), "cat"))
        work[Datasets].add_image(replace(a_row(two, digest(1), "dog"), image=newer))
        assert work[Datasets].images(one.id)[0].image == newer


def test_image_of_an_unknown_dataset_is_refused(transactions: Transactions) -> None:
    with transactions() as work, pytest.raises(DatasetNotFound):
        work[Datasets].add_image(a_row(a_dataset(), digest(1), "cat"))


def test_image_pages_never_tear_an_image_apart(transactions: Transactions) -> None:
    dataset = a_dataset(kind=DatasetKind.CAPTIONED)
    with transactions() as work:
        work[Datasets].add(dataset)
        for image in range(5):
            for caption in ("one", "two"):
                work[Datasets].add_image(a_row(dataset, digest(image), caption))
        rows, after = [], None
        while page := work[Datasets].image_page(dataset.id, 2, after):
            assert len(page) in {4, 2}
            rows += page
            after = page[-1].image.pixels
        assert rows == work[Datasets].images(dataset.id)
        assert len(rows) == 10


def test_removed_image_is_gone(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_image(a_row(dataset, digest(1), "cat"))
        work[Datasets].remove_image(dataset.id, digest(1))
        assert work[Datasets].images(dataset.id) == []
        with pytest.raises(ImageNotFound):
            work[Datasets].remove_image(dataset.id, digest(1))


def test_dataset_without_versions_is_removed_with_its_images(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_image(a_row(dataset, digest(1), "cat"))
        work[Datasets].remove(dataset.id)
        assert work[Datasets].images(dataset.id) == []
        with pytest.raises(DatasetNotFound):
            work[Datasets].remove(dataset.id)


def test_dataset_is_removed_with_its_versions(transactions: Transactions) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        freeze(work, dataset.id, dict.fromkeys(pixels_on(Side.TRAIN, 2), "cat"))
        work[Datasets].remove(dataset.id)
        assert work[Datasets].versions(dataset.id) == []


def test_versions_are_numbered_from_one(transactions: Transactions) -> None:
    dataset = a_dataset()
    manifest = a_manifest(dataset, {digest(1): "cat", digest(2): "dog"})
    made = [a_dataset_version(dataset, number, manifest) for number in (1, 2)]
    with transactions() as work:
        work[Datasets].add(dataset)
        for version in made:
            assert work[Datasets].next_version(dataset.id) == version.number
            work[Datasets].add_version(version, manifest)
        assert work[Datasets].versions(dataset.id) == made
        assert work[Datasets].version(dataset.id, 2) == made[1]
        with pytest.raises(DatasetVersionNotFound):
            work[Datasets].version(dataset.id, 3)


def test_number_of_a_version_that_was_rolled_back_is_given_again(
    transactions: Transactions,
) -> None:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work.commit()
    with transactions() as work:
        assert work[Datasets].next_version(dataset.id) == 1
    with transactions() as work:
        assert work[Datasets].next_version(dataset.id) == 1


def test_only_training_images_of_other_datasets_count_as_trained(
    transactions: Transactions,
) -> None:
    train, holdout = pixels_on(Side.TRAIN, 3), pixels_on(Side.HOLDOUT, 2)
    one, two = a_dataset(), a_dataset()
    asked = {*train, *holdout, digest("never seen")}
    with transactions() as work:
        work[Datasets].add(one)
        work[Datasets].add(two)
        freeze(work, one.id, dict.fromkeys([*train, *holdout], "cat"))
        freeze(work, one.id, dict.fromkeys(train, "cat"))
        freeze(work, two.id, {train[0]: "cat"})
        assert work[Datasets].trained_groups(asked, except_for=two.id) == set(train)
        assert work[Datasets].trained_groups(asked, except_for=one.id) == {train[0]}
        assert work[Datasets].trained_groups([], except_for=two.id) == set()


def test_many_images_are_looked_up_in_one_call(transactions: Transactions) -> None:
    dataset = a_dataset()
    train = pixels_on(Side.TRAIN, 2500)
    with transactions() as work:
        work[Datasets].add(dataset)
        freeze(work, dataset.id, dict.fromkeys(train, "cat"))
        found = work[Datasets].trained_groups(train, except_for=DatasetId("other"))
    assert found == set(train)


def freeze(work: Work, dataset: DatasetId, texts: dict) -> None:
    found = work[Datasets].get(dataset)
    manifest = a_manifest(found, texts or {digest(1): "cat"})
    number = work[Datasets].next_version(dataset)
    work[Datasets].add_version(a_dataset_version(found, number, manifest), manifest)


def test_groups_of_near_duplicates_are_paged_and_show_their_first_images(
    transactions: Transactions,
) -> None:
    """However many look alike: of a film, thousands may."""
    dataset = a_dataset(kind=DatasetKind.CAPTIONED)
    sizes = {digest("film"): SHOWN + 3, digest("pair"): 2, digest("single"): 1}
    members = {
        oldest: sorted([oldest, *(digest(f"{oldest} {n}") for n in range(1, size))])
        for oldest, size in sizes.items()
    }
    rows = [
        replace(
            a_row(dataset, pixels, text),
            image=an_image(pixels, near_duplicate_of=None if pixels == oldest else oldest),
        )
        for oldest, alike in members.items()
        for pixels in alike
        for text in ("a cat", "a pet")
    ]
    oldest_first = sorted(rows, key=lambda row: row.image.near_duplicate_of is not None)
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, rows)
        work[Thumbnails].add([(row.image, "00") for row in oldest_first if row.text == "a cat"])
        groups = work[Datasets].near_duplicate_page(dataset.id, 9, None)
        first = work[Datasets].near_duplicate_page(dataset.id, 1, None)
        second = work[Datasets].near_duplicate_page(dataset.id, 9, first[0].group)
    several = sorted(oldest for oldest, size in sizes.items() if size > 1)
    assert [(found.group, found.count) for found in groups] == [
        (one, sizes[one]) for one in several
    ]
    for found in groups:
        shown = [row.image.pixels for row in found.rows]
        assert shown[::2] == shown[1::2] == members[found.group][:SHOWN]
    assert [*first, *second] == groups
