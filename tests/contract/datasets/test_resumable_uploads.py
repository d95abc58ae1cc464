"""Rows of resumable uploads: one owner each, and parts that follow each other."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.database.unit_of_work import SqlTransactions
from core.errors import OffsetMismatch, UploadNotFound
from core.imports.rules import KEPT, ResumableUpload
from core.values import UploadId
from tests.support.factories import NOW, TESTER, digest

UPLOAD = ResumableUpload(
    id=UploadId("up_1"), owner=TESTER.name, length=2**40, created_at=NOW, expires_at=NOW + KEPT
)


@pytest.fixture
def mine(transactions: SqlTransactions) -> SqlTransactions:
    """Transactions of the owner of an upload."""
    found = transactions.on_behalf_of(TESTER)
    with found() as work:
        work.uploads.add(UPLOAD)
        work.commit()
    return found


def test_a_part_follows_what_was_seen_or_is_refused(mine: SqlTransactions) -> None:
    first = UPLOAD.extended(digest(1), 2**35, NOW + timedelta(hours=1))
    late = UPLOAD.extended(digest(2), 5, NOW)
    with mine() as work:
        work.uploads.extend(first, 0)
        work.commit()
    with mine() as work:
        with pytest.raises(OffsetMismatch) as caught:
            work.uploads.extend(late, 0)
        assert caught.value.facts == {"offset": 2**35}
        assert work.uploads.get(UPLOAD.id) == first
        assert work.references.archives() == {digest(1)}


def test_an_upload_is_not_there_for_others(
    mine: SqlTransactions, transactions: SqlTransactions
) -> None:
    other = transactions.on_behalf_of(replace(TESTER, name="another"))
    with other() as work:
        assert work.uploads.count() == 0
        for use in (
            lambda: work.uploads.get(UPLOAD.id),
            lambda: work.uploads.remove(UPLOAD.id),
            lambda: work.uploads.extend(UPLOAD.extended(digest(1), 1, NOW), 0),
        ):
            with pytest.raises(UploadNotFound):
                use()
    with mine() as work:
        assert work.uploads.count() == 1
        work.uploads.remove(UPLOAD.id)
        assert work.uploads.count() == 0


def test_uploads_are_forgotten_once_they_have_expired(
    mine: SqlTransactions, transactions: SqlTransactions
) -> None:
    with transactions() as work:
        assert work.uploads.forget(UPLOAD.expires_at) == 0
        assert work.uploads.forget(UPLOAD.expires_at + timedelta(seconds=1)) == 1
