"""Port for erasures and the images that they have erased."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from core.domain.erasure.erasure import Erasure
from core.domain.values import Digest, ErasureId


class Erasures(Protocol):
    def add(self, erasure: Erasure) -> None: ...

    def get(self, erasure: ErasureId) -> Erasure:
        """Return an erasure. Raises ErasureNotFound."""

    def page(self, limit: int, after: str | None) -> Sequence[Erasure]:
        """Return a page of erasures, oldest first; `after` is the last id of the page before."""

    def save(self, erasure: Erasure) -> None:
        """Update the job, the time and the findings of an erasure; note what it has erased."""

    def erased(self, pixels: Collection[Digest]) -> Mapping[Digest, ErasureId]:
        """Return which of some images were erased, and by which erasure."""

    def forms(self, pixels: Collection[Digest]) -> Mapping[Digest, Digest]:
        """Return the newest stored form of each of some images, also of erased ones."""
