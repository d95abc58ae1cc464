"""Rows of datasets and their images, counts that are kept, and descriptions that many change."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.database.work import Transactions, Work
from core.datasets import list_rows
from core.datasets.edit import create_dataset, describe_dataset
from core.datasets.list_rows import SHOWN
from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind
from core.datasets.thumbnail_rows import Thumbnails
from core.errors import (
    DatasetNotFound,
    DatasetVersionNotFound,
    ImageNotFound,
    LabelConflict,
    NameTaken,
)
from core.values import DatasetId, Digest
from tests.support.factories import (
    a_dataset,
    a_dataset_version,
    a_manifest,
    a_row,
    an_image,
    digest,
    pixels_on,
)
from tests.support.scene import Scene


@pytest.fixture
def work(transactions: Transactions) -> Iterator[Work]:
    with transactions() as opened:
        yield opened


@pytest.fixture
def dataset(work: Work) -> Dataset:
    return stored(work)


@pytest.fixture
def texts(work: Work) -> Dataset:
    return stored(work, DatasetKind.CAPTIONED)


def stored(work: Work, kind: DatasetKind = DatasetKind.LABELLED) -> Dataset:
    made = a_dataset(kind=kind)
    work[Datasets].add(made)
    return made


def freeze(work: Work, dataset: Dataset, texts: dict[Digest, str]) -> None:
    manifest = a_manifest(dataset, texts)
    number = work[Datasets].next_version(dataset.id)
    work[Datasets].add_version(a_dataset_version(dataset, number, manifest), manifest)


def test_dataset_is_found_by_id_before_a_name_that_looks_like_it(work: Work) -> None:
    dataset = a_dataset()
    work[Datasets].add(a_dataset(name=dataset.id))
    work[Datasets].add(dataset)
    assert work[Datasets].get(dataset.id) == dataset
    assert work[Datasets].get(dataset.name) == dataset
    with pytest.raises(NameTaken):
        work[Datasets].add(a_dataset(name=dataset.name))
    with pytest.raises(DatasetNotFound):
        work[Datasets].get("other")


def test_labelled_image_is_kept_once_with_one_class_until_it_is_removed(
    work: Work, dataset: Dataset
) -> None:
    for _ in range(2):
        work[Datasets].add_images(dataset.id, [a_row(dataset, digest(1), "cat")])
    with pytest.raises(LabelConflict):
        work[Datasets].add_images(dataset.id, [a_row(dataset, digest(1), "dog")])
    assert work[Datasets].images(dataset.id) == [a_row(dataset, digest(1), "cat")]
    assert work[Datasets].texts(dataset.id, [digest(1)]) == {digest(1): ["cat"]}
    assert work[Datasets].texts(dataset.id, [digest(2)]) == {}
    assert work[Datasets].count(dataset.id) == {"cat": 1}
    work[Datasets].remove_image(dataset.id, digest(1))
    assert work[Datasets].images(dataset.id) == []
    with pytest.raises(ImageNotFound):
        work[Datasets].remove_image(dataset.id, digest(1))


def test_captioned_image_counts_once_and_each_caption_has_its_time(
    work: Work, texts: Dataset
) -> None:
    first = a_row(texts, digest(1), "a cat")
    second = replace(first, text="a black cat", added_at=first.added_at + timedelta(hours=1))
    work[Datasets].add_images(texts.id, [first, second])
    assert work[Datasets].texts(texts.id, [digest(1)]) == {digest(1): ["a black cat", "a cat"]}
    assert work[Datasets].count(texts.id) == {"": 1}
    found = work[Datasets].added_at(texts.id, [digest(1), digest(2)])
    assert found == {(digest(1), row.text): row.added_at for row in (first, second)}


def test_dataset_is_removed_once_with_its_images(work: Work, dataset: Dataset) -> None:
    work[Datasets].add_images(dataset.id, [a_row(dataset, digest(1), "cat")])
    work[Datasets].remove(dataset.id)
    assert work[Datasets].images(dataset.id) == []
    with pytest.raises(DatasetNotFound):
        work[Datasets].remove(dataset.id)


def test_image_of_an_unknown_dataset_is_refused(work: Work) -> None:
    unknown = a_dataset()
    with pytest.raises(DatasetNotFound):
        work[Datasets].add_images(unknown.id, [a_row(unknown, digest(1), "cat")])


def test_image_pages_never_tear_an_image_apart(work: Work, texts: Dataset) -> None:
    captioned = [a_row(texts, digest(n), told) for n in range(5) for told in ("one", "two")]
    work[Datasets].add_images(texts.id, captioned)
    rows, after = [], None
    while page := work[Datasets].image_page(texts.id, 2, after):
        assert len(page) in {4, 2}
        rows += page
        after = page[-1].image.pixels
    assert rows == work[Datasets].images(texts.id)
    assert len(rows) == 10


def test_newest_versions_come_with_how_many_there_are(work: Work, dataset: Dataset) -> None:
    for name in ("cat", "dog"):
        freeze(work, dataset, {digest(1): name})
    newest = work[Datasets].version(dataset.id, 2)
    found = work[Datasets].newest_versions([dataset.id, stored(work).id])
    assert found == {dataset.id: (newest, 2)}
    with pytest.raises(DatasetVersionNotFound):
        work[Datasets].version(dataset.id, 3)


def test_only_training_images_of_other_datasets_count_as_trained(work: Work) -> None:
    train, holdout = pixels_on(Side.TRAIN, 2500), pixels_on(Side.HOLDOUT, 2)
    one, two = stored(work), stored(work)
    freeze(work, one, dict.fromkeys([*train, *holdout], "cat"))
    freeze(work, one, dict.fromkeys(train[:3], "cat"))
    freeze(work, two, {train[0]: "cat"})
    asked = {*train, *holdout, digest("never seen")}  # more than fit into a statement
    assert work[Datasets].trained_groups(asked, except_for=two.id) == set(train)
    assert work[Datasets].trained_groups(asked, except_for=one.id) == {train[0]}
    assert work[Datasets].trained_groups([], except_for=DatasetId("other")) == set()


def test_groups_of_near_duplicates_are_paged_and_show_their_first_images(
    work: Work, texts: Dataset
) -> None:
    """However many look alike: of a film, thousands may."""
    sizes = {digest("film"): SHOWN + 3, digest("pair"): 2, digest("single"): 1}
    members = {
        oldest: sorted([oldest, *(digest(f"{oldest} {n}") for n in range(1, size))])
        for oldest, size in sizes.items()
    }
    rows = [
        replace(
            a_row(texts, pixels, text),
            image=an_image(pixels, near_duplicate_of=None if pixels == oldest else oldest),
        )
        for oldest, alike in members.items()
        for pixels in alike
        for text in ("a cat", "a pet")
    ]
    oldest_first = sorted(rows, key=lambda row: row.image.near_duplicate_of is not None)
    work[Datasets].add_images(texts.id, rows)
    work[Thumbnails].add([(row.image, "00") for row in oldest_first if row.text == "a cat"])
    groups = work[Datasets].near_duplicate_page(texts.id, 9, None)
    first = work[Datasets].near_duplicate_page(texts.id, 1, None)
    second = work[Datasets].near_duplicate_page(texts.id, 9, first[0].group)
    several = sorted(oldest for oldest, size in sizes.items() if size > 1)
    assert [(found.group, found.count) for found in groups] == [
        (one, sizes[one]) for one in several
    ]
    for found in groups:
        shown = [row.image.pixels for row in found.rows]
        assert shown[::2] == shown[1::2] == members[found.group][:SHOWN]
    assert [*first, *second] == groups


Change = Callable[[Datasets], object]


def made(transactions: Transactions) -> Dataset:
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, [a_row(dataset, digest(n), "cat") for n in (1, 2)])
        work.commit()
    return dataset


def counts(transactions: Transactions, dataset: Dataset) -> dict[str, int]:
    with transactions(read_only=True) as work:
        return dict(work[Datasets].count(dataset.id))


def test_images_are_counted_after_each_change(
    transactions: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_rows, "DATASETS", 1)  # whose counts are kept
    dataset, other = made(transactions), made(transactions)
    new = a_row(dataset, digest(3), "dog")
    changes: list[tuple[Change, dict[str, int]]] = [
        (lambda it: it.add_images(dataset.id, [new]), {"cat": 2, "dog": 1}),
        (lambda it: it.move_images(dataset.id, [digest(1)], "dog"), {"cat": 1, "dog": 2}),
        (lambda it: it.rename_class(dataset.id, "dog", "wolf"), {"cat": 1, "wolf": 2}),
        (lambda it: it.remove_image(dataset.id, digest(1)), {"cat": 1, "wolf": 1}),
        (lambda it: it.erase([digest(3)]), {"cat": 1}),
    ]
    for change, after in changes:
        with transactions() as work:
            change(work[Datasets])
            work.commit()
        assert [counts(transactions, dataset) for _ in range(2)] == [after, after]
        assert counts(transactions, other) == {"cat": 2}


def test_what_is_undone_is_not_kept(transactions: Transactions) -> None:
    dataset = made(transactions)
    for text, number, commits in (("dog", 3, False), ("cow", 4, True)):
        with transactions() as work:
            work[Datasets].add_images(dataset.id, [a_row(dataset, digest(number), text)])
            assert work[Datasets].count(dataset.id) == {"cat": 2, text: 1}
            if commits:
                work.commit()
        assert "dog" not in counts(transactions, dataset)
    assert counts(transactions, dataset) == {"cat": 2, "cow": 1}


CHANGES = 40

DESCRIBED = AuditFilter(action="dataset.described")


def test_no_change_at_once_with_others_is_lost_or_told_wrongly(scene: Scene) -> None:
    create_dataset(scene.platform, name="pets", kind=DatasetKind.LABELLED)

    def change(number: int) -> None:
        text = str(number)
        only = (text, None) if number % 2 else (None, {"number": text})
        describe_dataset(scene.platform, "pets", description=only[0], metadata=only[1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(CHANGES)))
    with scene.platform.transactions(read_only=True) as work:
        events = work[AuditTrail].page(CHANGES + 1, None, DESCRIBED)
        left = work[Datasets].get("pets")
    changes = [event.change for event in reversed(events)]
    assert len(changes) == CHANGES
    assert [one.after for one in changes[:-1]] == [one.before for one in changes[1:]]
    assert changes[-1].after == {"description": left.description, "metadata": {**left.metadata}}
