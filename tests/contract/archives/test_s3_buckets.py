"""Buckets on a real S3 server: what is listed, and that no piece is of another object."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import IncompleteReadError

from core.archives.reader import S3Buckets
from core.archives.rules import BucketFolder, BucketObject
from core.artifacts.checks import PIECE
from core.artifacts.s3 import S3Artifacts
from core.artifacts.s3_requests import S3Access
from core.errors import BucketNotAllowed, BucketUnavailable, ObjectChanged, PerennialError
from devtools.servers import CREDENTIALS
from tests.contract.artifacts.test_s3 import refusal
from tests.support.servers.answering import early_end

DATA = bytes(range(256)) * (PIECE // 100)


class CutOff(nullcontext[Any]):
    """The body of an answer whose connection broke after some bytes."""

    def __init__(self, before: bytes) -> None:
        super().__init__()
        self._before = before

    def __enter__(self) -> "CutOff":
        return self

    def read(self, _size: int) -> bytes:
        found, self._before = self._before, b""
        if not found:
            raise IncompleteReadError(actual_bytes=3, expected_bytes=10)
        return found

    def close(self) -> None:
        pass


class Bucket:
    """A bucket that imports may read, with a writer's view of it."""

    def __init__(self, s3: S3Artifacts) -> None:
        self.name, self.client = s3._place.bucket, s3._client
        self.buckets = S3Buckets({self.name: S3Access(), "not-there": S3Access()})
        self.buckets._clients |= dict.fromkeys((self.name, "not-there"), self.client)

    def put(self, **objects: bytes) -> None:
        for key, data in objects.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def listed(self, prefix: str = "") -> list[BucketObject]:
        return list(self.buckets.objects(BucketFolder(bucket=self.name, prefix=prefix)))

    def read(self, listed: BucketObject) -> bytes:
        return b"".join(self.buckets.pieces(self.name, listed))


@pytest.fixture
def bucket(s3: S3Artifacts) -> Iterator[Bucket]:
    """An empty bucket."""
    return Bucket(s3)


def test_objects_below_a_prefix_are_listed_and_read(bucket: Bucket) -> None:
    bucket.put(**{"a/b é+?.jpg": DATA, "a/empty": b"", "a-b/c": b"c", "other": b"o"})
    found = bucket.listed("a/")
    assert [(one.key, one.size) for one in found] == [("a/b é+?.jpg", len(DATA)), ("a/empty", 0)]
    assert [bucket.read(one) for one in found] == [DATA, b""]
    assert len(bucket.listed()) == 4


def test_more_objects_than_one_answer_holds_are_all_listed(bucket: Bucket) -> None:
    bucket.put(**{f"{n:04}": b"" for n in range(4)})
    real = bucket.client.get_paginator("list_objects_v2")

    class Short:
        def paginate(self, **given: Any) -> Any:
            return real.paginate(**given, PaginationConfig={"PageSize": 3})

    bucket.buckets._clients[bucket.name] = type(
        "Pages", (), {"get_paginator": lambda *_: Short()}
    )()
    assert [one.key for one in bucket.listed()] == ["0000", "0001", "0002", "0003"]


def test_an_object_that_was_replaced_or_deleted_is_told_as_changed(bucket: Bucket) -> None:
    bucket.put(a=DATA, b=DATA)
    replaced, deleted = bucket.listed()
    bucket.put(a=DATA[::-1])
    bucket.client.delete_object(Bucket=bucket.name, Key="b")
    for listed in (replaced, deleted):
        with pytest.raises(ObjectChanged):
            bucket.read(listed)


def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put(a=DATA)
    (listed,) = bucket.listed()
    real, asked = bucket.client.get_object, []

    def cut_off(**given: Any) -> Any:
        asked.append(given.get("Range", ""))
        answer = real(**given)
        if len(asked) > 2:
            return answer
        return answer | {"Body": CutOff(answer["Body"].read(1000))}

    monkeypatch.setattr(bucket.client, "get_object", cut_off)
    assert bucket.read(listed) == DATA
    assert asked == ["", "bytes=1000-", "bytes=2000-"]
    asked.clear()
    pieces = bucket.buckets.pieces(bucket.name, listed)
    assert next(pieces) == DATA[:1000]
    bucket.put(a=DATA[::-1])
    with pytest.raises(ObjectChanged):
        next(pieces)


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "without it"])
def test_an_object_whose_connection_closes_early_is_read_on_from_there(announced: bool) -> None:
    with early_end(DATA, announced=announced) as (url, asked):
        access = S3Access(endpoint=url, access_key_id="a", secret_access_key="a secret key")
        buckets = S3Buckets({"photos": access})
        listed = BucketObject(key="a", etag='"0"', size=len(DATA))
        assert b"".join(buckets.pieces("photos", listed)) == DATA
        buckets.close()
    assert asked == [0, len(DATA) // 2]


@pytest.mark.parametrize(
    ("name", "fault"), [("unnamed", BucketNotAllowed), ("not-there", BucketUnavailable)]
)
def test_only_buckets_with_a_name_in_the_settings_are_read(
    bucket: Bucket, name: str, fault: type[PerennialError]
) -> None:
    listed = BucketObject(key="a", etag='"0"', size=1)
    for act in (
        lambda: list(bucket.buckets.objects(BucketFolder(bucket=name))),
        lambda: list(bucket.buckets.pieces(name, listed)),
    ):
        with pytest.raises(fault) as told:
            act()
        assert told.value.facts["bucket"] == name


def test_what_a_bucket_refuses_is_told_without_secrets(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied, gone = (Mock(side_effect=refusal(code)) for code in ("AccessDenied", "404"))
    monkeypatch.setattr(bucket.client, "get_object", denied)
    with pytest.raises(BucketUnavailable, match="AccessDenied"):
        bucket.read(BucketObject(key="a", etag='"0"', size=1))
    monkeypatch.setattr(bucket.client, "_make_api_call", gone)  # as for no bucket
    with pytest.raises(BucketUnavailable):
        bucket.listed()
    nowhere = S3Buckets({"photos": S3Access(endpoint="https://no_host.example")})
    with pytest.raises(BucketUnavailable, match="invalid endpoint"):
        list(nowhere.objects(BucketFolder(bucket="photos")))
    access = S3Access(access_key_id="a", secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in repr(access)
