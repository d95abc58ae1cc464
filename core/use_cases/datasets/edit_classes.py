"""Rename the classes of a dataset, and move its images between them.

Only the draft changes: frozen versions keep the classes that they were frozen with.
"""

from collections import Counter
from collections.abc import Collection

from core.domain.access.audit import Action
from core.domain.datasets.dataset import Dataset, DatasetKind
from core.domain.values import Digest, clean_class
from core.errors import ClassNotFound, ClassTaken, ImageNotFound, NotLabelled
from core.ports import Platform, UnitOfWork
from core.use_cases.access import audit


def rename_class(platform: Platform, reference: str, name: str, *, to: str, merge: bool) -> int:
    """Rename a class and return how many images the class has then.

    With `merge`, the new name may be that of another class, which the images join. Raises
    DatasetNotFound, NotLabelled, ClassInvalid, ClassNotFound or ClassTaken.
    """
    to = clean_class(to)
    with platform.transactions() as work:
        dataset = _locked(work, reference)
        counts = work.datasets.count(dataset.id)
        if name not in counts:
            raise ClassNotFound("There is no such class in this dataset.", name=name)
        if to == name:
            return counts[name]
        if to in counts and not merge:
            raise ClassTaken(name=to, images=counts[to])
        renamed = work.datasets.rename_class(dataset.id, name, to)
        audit.record(
            work,
            Action.CLASS_RENAMED,
            f"datasets/{dataset.name}",
            now=platform.clock(),
            before={"class": name, "images": renamed},
            after={"class": to, "images": renamed + counts.get(to, 0)},
        )
        work.commit()
    return renamed + counts.get(to, 0)


def move_images(platform: Platform, reference: str, pixels: Collection[Digest], *, to: str) -> int:
    """Move images to a class, new or not, and return how many were in another one; all or none.

    Raises DatasetNotFound, NotLabelled, ClassInvalid, or ImageNotFound with the images that the
    dataset does not hold.
    """
    to = clean_class(to)
    with platform.transactions() as work:
        dataset = _locked(work, reference)
        texts = work.datasets.texts(dataset.id, pixels)
        if missing := sorted(set(pixels) - texts.keys()):
            raise ImageNotFound(pixels=missing[:20])
        moved = {one: held for one, (held,) in texts.items() if held != to}
        if moved:
            work.datasets.move_images(dataset.id, [*moved], to)
            audit.record(
                work,
                Action.IMAGES_MOVED,
                f"datasets/{dataset.name}",
                now=platform.clock(),
                before={"images": dict(Counter(moved.values()))},
                after={"images": {to: len(moved)}},
            )
            work.commit()
    return len(moved)


def _locked(work: UnitOfWork, reference: str) -> Dataset:
    dataset = work.datasets.get(reference)
    if dataset.kind is not DatasetKind.LABELLED:
        raise NotLabelled
    work.datasets.lock(dataset.id)
    return dataset
