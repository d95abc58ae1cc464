"""Rows of resumable uploads: one owner each, and parts that follow each other."""

from datetime import timedelta

import pytest

from core.database.work import Transactions
from core.errors import OffsetMismatch
from core.imports.rows import Uploads
from core.imports.rules import KEPT, ResumableUpload
from core.upkeep.rows import ArtifactRoots
from core.values import UploadId
from tests.support.factories import NOW, TESTER, digest

UPLOAD = ResumableUpload(
    id=UploadId("up_1"), owner=TESTER.name, length=2**40, created_at=NOW, expires_at=NOW + KEPT
)


@pytest.fixture
def mine(transactions: Transactions) -> Transactions:
    """Transactions of the owner of an upload."""
    found = transactions.on_behalf_of(TESTER)
    with found() as work:
        work[Uploads].add(UPLOAD)
        work.commit()
    return found


def test_a_part_follows_what_was_seen_or_is_refused(mine: Transactions) -> None:
    first = UPLOAD.extended(digest(1), 2**35, NOW + timedelta(hours=1))
    late = UPLOAD.extended(digest(2), 5, NOW)
    with mine() as work:
        work[Uploads].extend(first, 0)
        work.commit()
    with mine() as work:
        with pytest.raises(OffsetMismatch) as caught:
            work[Uploads].extend(late, 0)
        assert caught.value.facts == {"offset": 2**35}
        assert work[Uploads].get(UPLOAD.id) == first
        assert work[ArtifactRoots].archives() == {digest(1)}
