"""The numbers of images of classes are kept until a change, and never those of what is undone."""

from collections.abc import Callable, Mapping

import pytest

from core.database.work import Transactions
from core.datasets import list_rows as count_cache
from core.datasets.rows import Datasets
from core.datasets.rules import Dataset, DatasetKind
from tests.support.factories import a_dataset, a_row, digest

Change = Callable[[Datasets], object]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The datasets whose images were counted, in order."""
    noted: list[str] = []
    count = Datasets._count

    def noting(self: Datasets, dataset: str, kind: DatasetKind) -> Mapping[str, int]:
        noted.append(dataset)
        return count(self, dataset, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(Datasets, "_count", noting)
    return noted


def made(transactions: Transactions) -> Dataset:
    """A dataset of two cats."""
    dataset = a_dataset()
    with transactions() as work:
        work[Datasets].add(dataset)
        work[Datasets].add_images(dataset.id, [a_row(dataset, digest(n), "cat") for n in (1, 2)])
        work.commit()
    return dataset


def counts(transactions: Transactions, dataset: Dataset) -> dict[str, int]:
    with transactions(read_only=True) as work:
        return dict(work[Datasets].count(dataset.id))


def test_images_are_counted_once_after_each_change(
    transactions: Transactions, counted: list[str]
) -> None:
    dataset = made(transactions)
    new = a_row(dataset, digest(3), "dog")
    changes: list[tuple[Change, dict[str, int]]] = [
        (lambda it: it.add_image(new), {"cat": 2, "dog": 1}),
        (lambda it: it.move_images(dataset.id, [digest(1)], "dog"), {"cat": 1, "dog": 2}),
        (lambda it: it.rename_class(dataset.id, "dog", "wolf"), {"cat": 1, "wolf": 2}),
        (lambda it: it.remove_image(dataset.id, digest(1)), {"cat": 1, "wolf": 1}),
        (lambda it: it.erase([digest(3)]), {"cat": 1}),
    ]
    for number, (change, after) in enumerate(changes, start=1):
        with transactions() as work:
            change(work[Datasets])
            work.commit()
        assert [counts(transactions, dataset) for _ in range(2)] == [after, after]
        assert counted == [dataset.id] * number


def test_what_is_undone_is_not_kept(transactions: Transactions) -> None:
    dataset = made(transactions)
    for text, number, commits in (("dog", 3, False), ("cow", 4, True)):
        with transactions() as work:
            work[Datasets].add_image(a_row(dataset, digest(number), text))
            assert work[Datasets].count(dataset.id) == {"cat": 2, text: 1}
            if commits:
                work.commit()
        assert "dog" not in counts(transactions, dataset)
    assert counts(transactions, dataset) == {"cat": 2, "cow": 1}


def test_those_asked_for_last_are_kept(
    transactions: Transactions, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count_cache, "DATASETS", 2)
    one, two, three = (made(transactions) for _ in range(3))
    for dataset in (one, two, one, three, one, two):
        assert counts(transactions, dataset) == {"cat": 2}
    assert counted == [one.id, two.id, three.id, two.id]
