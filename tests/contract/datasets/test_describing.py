"""Descriptions of a dataset that several callers change at once."""

from concurrent.futures import ThreadPoolExecutor

from core.audit.rows import AuditTrail
from core.audit.rules import AuditFilter
from core.datasets.edit import create_dataset, describe_dataset
from core.datasets.rows import Datasets
from core.datasets.rules import DatasetKind
from tests.support.scene import Scene

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
