"""Properties of the store on S3 alone, and answers of S3 that break off."""

import os
import pickle
import signal
import time
from base64 import b64decode
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from core import bootstrap
from core.artifacts import s3 as s3_module
from core.artifacts.s3 import S3Artifacts
from core.artifacts.s3_requests import S3Location
from core.errors import ArtifactsUnavailable, PerennialError, StorageFull, UnsafeConfiguration
from core.settings import Settings
from core.values import Digest, sha256
from devtools.servers import CREDENTIALS, s3_server
from tests.support.servers.answering import early_end

DATA = b"some bytes"

LARGE = 11 << 20  # three parts


def keys_in(s3: S3Artifacts) -> list[str]:
    found = s3._client.list_objects_v2(Bucket=s3._place.bucket)
    return [row["Key"] for row in found.get("Contents", ())]


def unfinished_in(s3: S3Artifacts) -> int:
    found = s3._client.list_multipart_uploads(Bucket=s3._place.bucket)
    return len(found.get("Uploads", ()))


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "so there"}}, "PutObject")


def test_large_artifacts_travel_in_parts(s3: S3Artifacts) -> None:
    data = os.urandom(LARGE)
    sent, read = list[int](), list[int]()
    found = s3.put(data, sent.append)
    assert s3.get(found, read.append) == data
    for moved in (sent, read):
        assert sum(moved) >= LARGE
        assert max(moved) <= 1 << 20
    head = s3._client.head_object(Bucket=s3._place.bucket, Key=s3._key(found))
    assert head["ETag"].endswith('-3"')
    assert unfinished_in(s3) == 0


def test_a_part_that_fails_leaves_nothing_behind(
    s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = s3._client.upload_part

    def fails_at_the_second(**given: Any) -> Any:
        if given["PartNumber"] == 2:
            raise refusal("XMinioStorageFull")
        return real(**given)

    monkeypatch.setattr(s3._client, "upload_part", fails_at_the_second)
    with pytest.raises(StorageFull):
        s3.put(os.urandom(LARGE))
    assert keys_in(s3) == []
    assert unfinished_in(s3) == 0


def test_an_upload_that_its_writer_left_is_given_up(s3: S3Artifacts) -> None:
    kept = s3.put(DATA)
    where = {"Bucket": s3._place.bucket, "Key": f"{s3._place.prefix}ab/cd"}
    upload = s3._client.create_multipart_upload(**where)["UploadId"]
    s3._client.upload_part(**where, UploadId=upload, PartNumber=1, Body=DATA)
    assert list(s3.digests()) == [kept]
    assert s3.sweep(60) == 1  # this server says that every upload began long ago
    assert unfinished_in(s3) == 0
    assert s3.get(kept) == DATA


def test_the_server_is_told_the_sha256_of_what_it_gets(
    s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    real = s3._client.put_object
    monkeypatch.setattr(s3._client, "put_object", lambda **row: sent.append(row) or real(**row))
    found = s3.put(DATA)
    assert b64decode(sent[0]["ChecksumSHA256"]).hex() == found


def test_only_what_lies_below_the_prefix_is_seen(s3: S3Artifacts) -> None:
    found = s3.put(DATA)
    other = S3Artifacts(replace(s3._place, prefix="another/"))
    other._connected = s3._connected
    assert not other.has(found)
    assert list(other.stored()) == []
    assert other.sweep(0) == 0
    s3._client.put_object(Bucket=s3._place.bucket, Key=f"{s3._place.prefix}readme.txt", Body=b"")
    assert list(s3.digests()) == [found]


def test_a_writer_waits_for_the_collector_that_has_looked_at_its_object(
    s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = s3.put(DATA)
    once = s3._clients.asks_once
    real = once.delete_object
    writes: list[Future[Digest]] = []
    with ThreadPoolExecutor(1) as pool:

        def meets_a_writer(**row: Any) -> Any:
            writes.append(pool.submit(s3.put, DATA))
            time.sleep(0.7)
            assert not writes[0].done()
            return real(**row)

        monkeypatch.setattr(once, "delete_object", meets_a_writer)
        assert s3.delete_if_older(found, 0)
        writes[0].result(20)
    assert s3.get(sha256(DATA)) == DATA
    assert [key for key in keys_in(s3) if "collecting" in key] == []


def test_two_collectors_do_not_meet(s3: S3Artifacts) -> None:
    found = s3.put(DATA)
    assert s3._collecting._create(s3._collecting._mark(found))
    assert not s3.delete_if_older(found, 0)
    assert s3.has(found)


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("AccessDenied", ArtifactsUnavailable),
        ("QuotaExceeded", StorageFull),
        ("507", StorageFull),
    ],
)
def test_refusals_have_names(
    s3: S3Artifacts, code: str, fact: type[PerennialError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3._client, "put_object", Mock(side_effect=refusal(code)))
    with pytest.raises(fact) as told:
        s3.put(DATA)
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in f"{told.value!r} {told.value.facts}"


def test_a_store_is_handed_on_without_its_secrets(s3: S3Artifacts) -> None:
    found = s3.put(DATA)
    packed = pickle.dumps(s3)
    for secret in CREDENTIALS.values():
        assert secret.encode() not in packed
        assert secret not in repr(s3)
    handed = pickle.loads(packed)
    assert handed.get(found) == DATA
    handed.close()


@pytest.mark.parametrize("url", ["s3://", "s3://key:secret@bucket/x", "s3://b/x?y=z", "gs://b"])
def test_an_address_that_says_too_little_or_too_much_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UnsafeConfiguration) as told:
        bootstrap.artifacts_of(Settings(home=tmp_path, artifacts_url=url))
    assert "secret@" not in told.value.message


def test_a_bucket_is_made_once_and_until_then_is_no_missing_artifact(
    s3: S3Artifacts, tmp_path: Path
) -> None:
    place = replace(s3._place, bucket="not-yet-there", prefix="some/prefix/")
    fresh = S3Artifacts(place)
    with pytest.raises(ArtifactsUnavailable, match="NoSuchBucket"):
        fresh.put(DATA)
    with pytest.raises(ArtifactsUnavailable):
        fresh.free_bytes()
    url = f"s3://{place.bucket}/{place.prefix}"
    settings = Settings(home=tmp_path, artifacts_url=url, s3_endpoint=place.access.endpoint or "")
    assert bootstrap.make_bucket(settings)
    assert not bootstrap.make_bucket(settings)
    with bootstrap.opened(settings) as platform:  # the settings choose the same store
        assert fresh.get(platform.artifacts.put(DATA)) == DATA
    fresh.close()


def test_a_full_scratch_disk_says_so(s3: S3Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> Any:
        return Path("/dev/full").open("wb", buffering=0)

    files = SimpleNamespace(TemporaryFile=full, SpooledTemporaryFile=full)
    monkeypatch.setattr(s3_module, "tempfile", files)
    with pytest.raises(StorageFull), s3.writer() as writer:
        writer.write(DATA)
    with pytest.raises(StorageFull), s3.batch() as batch:
        batch.add(DATA)
    assert keys_in(s3) == []


def test_an_answer_whose_connection_closes_early_is_not_taken_for_a_damaged_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for read in (S3Artifacts.get, lambda store, found: b"".join(store.pieces(found))):
        with early_end(DATA, announced=True) as (url, asked):
            place = S3Location.of("s3://bucket", scratch=tmp_path, endpoint=url, region="")
            store = S3Artifacts(place)
            assert read(store, sha256(DATA)) == DATA
            store.close()
        assert len(asked) == 2


def test_a_server_that_hangs_or_dies_is_told_after_the_tries_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as (url, process):
        place = S3Location.of("s3://bucket", scratch=tmp_path, endpoint=url, region="")
        patient = S3Artifacts(place)  # the server's first answers may take long
        patient.make_bucket()
        found = patient.put(DATA)
        patient.close()
        store = S3Artifacts(
            replace(place, access=replace(place.access, connect_s=0.5, read_s=0.5), tries=2)
        )
        config = store._client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (0.5, 0.5)
        sent: list[str] = []
        store._client.meta.events.register("before-send.s3", lambda request, **_: sent.append(url))
        for harm in (signal.SIGSTOP, signal.SIGKILL):
            process.send_signal(harm)
            for act in (lambda: store.get(found), lambda: store.put(DATA), store.free_bytes):
                sent.clear()
                with pytest.raises(ArtifactsUnavailable):
                    act()
                assert len(sent) == 2
        store.close()
