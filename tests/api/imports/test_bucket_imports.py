"""Objects of an S3 bucket: ordered over the API, imported by a worker, reported one by one."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.archives.reader import S3Buckets
from core.archives.rules import BucketObject
from core.artifacts import s3_requests
from core.artifacts.s3_requests import S3Access
from core.datasets.edit import create_dataset
from core.datasets.rules import DatasetKind
from core.principal import Role
from core.settings import ImportBucket
from devtools.servers import CREDENTIALS, s3_server
from tests.support.api.archives import tarred
from tests.support.api.browsing import Browser, browser_of
from tests.support.api.image_files import picture
from tests.support.api.imports import PRODUCTS, Imports, importing
from tests.support.api.service import EMBEDDED, Service, code_of, running, settings_of
from tests.support.api.tables import as_datasets_writes

FILES = {"boot/1.png": picture(1), "boot/2.png": picture(2), "bag/3.png": picture(3)}

SECRET = CREDENTIALS["AWS_SECRET_ACCESS_KEY"]

MOST_FILES, MOST_BYTES = 30, 60_000

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Any]]:
    """The URL of a running S3 server, and a client."""
    with s3_server() as (url, _):
        access = S3Access(
            endpoint=url,
            region="us-east-1",
            access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret_access_key=SECRET,
        )
        yield url, access.client(1)


@dataclass(frozen=True)
class Shop:
    """Imports from a bucket of the test's own, below the prefix `shop`."""

    imports: Imports
    client: Any
    bucket: str

    def put(self, files: dict[str, bytes], prefix: str = "shop/") -> None:
        for name, data in files.items():
            self.client.put_object(Bucket=self.bucket, Key=f"{prefix}{name}", Body=data)

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"shop/{name}")

    def send(self, key: str | None = None, **query: str) -> Any:
        return self.imports.service.client.post(
            f"{PRODUCTS}/imports",
            params={"s3": f"s3://{self.bucket}/shop"} | query,
            headers={"Idempotency-Key": key} if key else {},
        )

    def order(self, **query: str) -> Any:
        answer = self.send(**query)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def run(self, **query: str) -> Any:
        job = self.order(**query)
        self.imports.work()
        return self.imports.job(job)

    def told(self, job: Any) -> dict[str, Any]:
        """Outcome or error code of each file."""
        rows = self.imports.report(job)
        return {row["file"]: (row["error"] or {}).get("code", row["outcome"]) for row in rows}


@pytest.fixture
def shop(home: Path, store: tuple[str, Any]) -> Iterator[Shop]:
    """Imports into an empty labelled dataset, of few objects."""
    url, client = store
    name = f"bucket{next(_numbers)}"
    client.create_bucket(Bucket=name)
    named = [
        ImportBucket(
            name=one,
            endpoint=url,
            region="us-east-1",
            access_key_id=SecretStr(CREDENTIALS["AWS_ACCESS_KEY_ID"]),
            secret_access_key=SecretStr(SECRET),
        )
        for one in (name, "not-there")
    ]
    caps = {"max_import_files": MOST_FILES, "max_unpacked_bytes": MOST_BYTES}
    settings = settings_of(home, import_buckets=tuple(named), **caps)
    with running(settings) as service, importing(service) as imports:
        yield Shop(imports, client, name)


def test_what_lies_below_a_prefix_is_imported_with_its_folders_as_classes(shop: Shop) -> None:
    shop.put(FILES | {"boot/": b"", ".hidden/4.png": picture(4), "boot/5.png": b"no image"})
    shop.put({"boot/6.png": picture(6)}, prefix="shop-old/")
    trial = shop.run(validate_only="true")
    assert shop.imports.draft() == {}
    job = shop.run()
    assert shop.told(job) == shop.told(trial)
    assert shop.told(job) == dict.fromkeys(FILES, "created") | {"boot/5.png": "unsupported_image"}
    assert shop.imports.service.client.get(PRODUCTS).json()["counts"] == {"bag": 1, "boot": 2}
    source, size = f"s3://{shop.bucket}/shop/", sum(map(len, FILES.values())) + len(b"no image")
    read = job["images"]
    assert (read["format"], read["source"], read["bytes"]) == ("s3", source, size)
    events = shop.imports.service.client.get(job["links"]["events"]).json()["data"]
    fetching = {"phase": "fetching", "step": 0, "total": size}
    assert fetching.items() <= next(row["data"] for row in events if row["kind"] == "phase").items()


def test_objects_that_changed_since_the_order_are_reported_and_left_out(shop: Shop) -> None:
    shop.put(FILES)
    job = shop.order()
    client, here = shop.imports.service.client, f"/v1/jobs/{job['id']}"
    shop.imports.work(lambda: client.post(f"{here}/cancel"), after=3)
    assert shop.imports.job(job)["status"] == "cancelled"
    assert shop.imports.draft() == {}
    shop.put({"boot/1.png": picture(11), "boot/12.png": picture(12)})
    shop.delete("bag/3.png")
    again = client.post(f"{here}/retry").json()
    shop.imports.work()
    changed = dict.fromkeys(("boot/1.png", "bag/3.png"), "object_changed")
    assert shop.told(shop.imports.job(again)) == changed | {"boot/2.png": "created"}
    assert len(shop.imports.draft()) == 1
    assert set(shop.told(shop.run()).values()) == {"created", "duplicate"}
    assert len(shop.imports.draft()) == 3


def test_collections_are_read_where_they_lie_and_none_of_them_as_a_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = as_datasets_writes([picture(1), picture(2)], [1, 0], ["bag", "boot"])
    samples = {f"{at:02}.png": picture(at) for at in range(10, 26)}
    shard = tarred({"09.cls": b"hat", "09.png": picture(9)} | samples)
    shop.put({"data/train.parquet": rows, "more/0.tar": shard})
    read, real, at_first = Counter[str](), S3Buckets.pieces, list[int]()

    def pieces(buckets: S3Buckets, bucket: str, listed: BucketObject) -> Iterator[bytes]:
        for piece in real(buckets, bucket, listed):
            read[listed.key] += len(piece)
            yield piece

    monkeypatch.setattr(S3Buckets, "pieces", pieces)
    monkeypatch.setattr(s3_requests, "PIECE", 512)
    job = shop.order()
    # Rows 1 and 2 come first; the next image waits for three others of the shard at most.
    shop.imports.work(lambda: at_first.append(read["shop/more/0.tar"]), after=3)
    assert read["shop/data/train.parquet"] == len(rows)
    assert at_first[0] < read["shop/more/0.tar"] / 2
    told = shop.told(shop.imports.job(job))
    assert told == {
        "data/train.parquet/row 1/0.png": "created",
        "data/train.parquet/row 2/1.png": "created",
        "more/0.tar/09.png": "created",
    } | {f"more/0.tar/{name}": "text_missing" for name in samples}
    counts = shop.imports.service.client.get(PRODUCTS).json()["counts"]
    assert counts == {"bag": 1, "boot": 1, "hat": 1}
    shop.put({"data/train.parquet": rows[:-20]})
    assert shop.run()["error"]["code"] == "archive_corrupt"
    assert len(shop.imports.draft()) == 3


def test_a_form_on_the_datasets_page_orders_an_import_and_shows_its_job(shop: Shop) -> None:
    shop.put(FILES)
    helper, here = browser_of(shop.imports.service, Role.CONTRIBUTOR), "/ui/datasets/products"
    page = helper.get(here).text
    assert f"<option>{shop.bucket}</option>" in page
    assert SECRET not in page
    form = {"bucket": shop.bucket, "key": "once"}
    for fields, code in (
        ({"prefix": "<b>"}, "archive_empty"),
        ({"prefix": "<b>", "label_column": "x" * 201}, "field_invalid"),
        ({"prefix": "<b>", "caption_column": "text"}, "field_invalid"),
        ({"prefix": "<b>", "bucket": ""}, "field_invalid"),
        ({"prefix": "<b>", "bucket": "elsewhere"}, "bucket_not_allowed"),
    ):
        with shop.imports.service.untouched():
            refused = helper.send(f"{here}/imports", **(form | fields))
        assert (refused.status_code, code in refused.text) == (422, True)
        assert 'name="prefix" value="&lt;b&gt;"' in refused.text
    at_once = [helper.send(f"{here}/imports", prefix="shop", **form) for _ in range(2)]
    (shown,) = {answer.headers["location"] for answer in at_once}
    shop.imports.work()
    told = helper.get(shown).text
    assert "3 images added" in told
    assert f'href="{here}"' in told


def test_a_viewer_and_a_service_without_buckets_have_no_such_form(
    shared_service: Service, viewer: Browser
) -> None:
    create_dataset(shared_service.platform, "no-bucket", DatasetKind.LABELLED)
    here = "/ui/datasets/no-bucket"
    assert "From a bucket" not in viewer.get(here).text
    page = browser_of(shared_service, Role.CONTRIBUTOR).get(here).text
    assert "PERENNIAL_IMPORT_BUCKETS" in page
    assert f'action="{here}/imports"' not in page


@EMBEDDED
def test_a_list_that_changed_or_a_bucket_that_is_gone_fails_the_job(shop: Shop) -> None:
    shop.put({"1.png": picture(1), "list.csv": b"file,class\n1.png,boot\n"})
    job = shop.order()
    shop.put({"list.csv": b"file,class\n1.png,bag\n"})
    shop.imports.work()
    error = shop.imports.job(job)["error"]
    assert (error["code"], error["file"]) == ("object_changed", "list.csv")
    job = shop.order()
    for name in ("1.png", "list.csv"):
        shop.delete(name)
    shop.client.delete_bucket(Bucket=shop.bucket)
    shop.imports.work()
    assert shop.imports.job(job)["error"]["code"] == "bucket_unavailable"
    assert shop.imports.draft() == {}


@EMBEDDED
def test_what_cannot_be_imported_is_refused_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**query: str) -> tuple[int, str]:
        with shop.imports.service.untouched():
            answer = shop.send(**query)
        return code_of(answer)

    shop.put({"boot/": b"", ".hidden/1.png": picture(1)})
    assert refused() == (422, "archive_empty")
    assert refused(s3="s3://not-there/shop") == (503, "bucket_unavailable")
    assert refused(s3="s3://elsewhere/shop") == (422, "bucket_not_allowed")
    assert refused(s3="s3://a/b\tc") == (422, "field_invalid")
    assert refused(upload="up_1") == (422, "field_invalid")
    shop.put({"boot/1.png": bytes(MOST_BYTES)})
    assert shop.send().status_code == 202
    shop.put({"boot/2.png": b"\0"})
    assert refused() == (413, "archive_too_big")
    shop.put({f"boot/{n}.png": b"" for n in range(1, MOST_FILES)})
    assert refused() == (413, "archive_too_big")
    artifacts = type(shop.imports.service.platform.artifacts)
    monkeypatch.setattr(artifacts, "free_bytes", lambda _: 0)
    assert refused() == (507, "storage_full")


@EMBEDDED
def test_the_same_order_sent_again_is_the_same_job_whatever_lies_there_now(shop: Shop) -> None:
    shop.put(FILES)
    first = shop.send("once").json()
    for name in FILES:
        shop.delete(name)
    assert shop.send("once").json()["id"] == first["id"]
    answer = shop.send("once", validate_only="true")
    assert code_of(answer) == (422, "idempotency_mismatch")
