"""A process's cache of how many images each class of a dataset has.

A count reads an entry of an index for each image. It is kept with the dataset's revision, which
grows in every transaction that changes its images: so it is made once after each change.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from types import MappingProxyType

from core.domain.values import DatasetId

DATASETS = 50  # that are kept, those asked for last


class CountCache:
    """The cache for one database; safe to share between threads. Read-only transactions fill it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[DatasetId, tuple[int, Mapping[str, int]]] = OrderedDict()

    def counts(
        self, dataset: DatasetId, revision: int, count: Callable[[], Mapping[str, int]]
    ) -> Mapping[str, int]:
        """Return the counts at a revision, calling `count` unless they are kept."""
        with self._lock:
            known, counts = self._kept.get(dataset, (None, {}))
        if known != revision:
            counts = MappingProxyType(count())
        with self._lock:
            self._kept[dataset] = (revision, counts)
            self._kept.move_to_end(dataset)
            while len(self._kept) > DATASETS:
                self._kept.popitem(last=False)
        return counts
