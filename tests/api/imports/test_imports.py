"""Archives of images: ordered over the API, imported by a worker, reported file by file."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import Mock

import pytest

from core.artifacts.store import ArtifactKind
from core.datasets.receive import receive
from core.datasets.uploads import Receipt
from core.errors import LeaseLost
from core.imports import import_images
from core.jobs.rows import Jobs
from core.principal import SERVICE
from core.upkeep.gc import collect_garbage
from core.values import Digest
from tests.support.api.archives import encrypted_zip, tar_with, tarred, zip_with_link, zipped
from tests.support.api.image_files import picture
from tests.support.api.imports import PRODUCTS, TYPES, Imports, importing
from tests.support.api.service import EMBEDDED, Service, code_of, running, settings_of

FOLDERS = {"shoes/boot/1.png": picture(1), "shoes/boot/2.png": picture(2), "bag/3.png": picture(3)}

UNSAFE = "archive_unsafe"

BAD = [  # unit/archives has them all
    ("zip", zipped(FOLDERS | {"../../etc/passwd": b"x"}), UNSAFE),
    ("zip", zipped(FOLDERS | {"bag/inner.png": tarred(FOLDERS, "w:gz")}), UNSAFE),
    ("zip", zip_with_link(), UNSAFE),
    ("zip", encrypted_zip(), UNSAFE),
    ("tar", tar_with(type=b"2", linkname="../x"), UNSAFE),
    ("zip", zipped(FOLDERS)[:-30], "archive_corrupt"),
]


@pytest.fixture
def imports(service: Service) -> Iterator[Imports]:
    """Imports into an empty labelled dataset."""
    with importing(service) as found:
        yield found


@EMBEDDED
def test_a_tar_brings_what_a_zip_of_the_same_files_does(imports: Imports) -> None:
    data = zipped(FOLDERS)
    job = imports.run(data)
    assert (job["type"], job["status"], job["model"]) == ("import_images", "succeeded", None)
    counts = {"created": 3, "duplicate": 0, "label_conflict": 0, "rejected": 0}
    assert job["result"] == counts | {"report": job["result"]["report"]}
    assert (job["images"]["format"], job["images"]["bytes"]) == ("zip", len(data))
    rows = imports.report(job)
    assert [(row["file"], row["text"], row["outcome"]) for row in rows] == [
        ("shoes/boot/1.png", "boot", "created"),
        ("shoes/boot/2.png", "boot", "created"),
        ("bag/3.png", "bag", "created"),
    ]
    assert imports.service.client.get(PRODUCTS).json()["counts"] == {"bag": 1, "boot": 2}
    again = [{**row, "outcome": "duplicate"} for row in rows]
    for kind, mode, name in (("tar", "w", "tar"), ("gz", "w:gz", "tar.gz")):
        job = imports.run(tarred(FOLDERS, mode), kind)
        assert (imports.report(job), job["images"]["format"]) == (again, name)


@EMBEDDED
def test_each_file_is_reported_with_what_became_of_it_and_why(imports: Imports) -> None:
    imports.run(zipped(FOLDERS))
    files = {
        "boot/1.png": picture(1),
        "bag/1.png": picture(1),
        "boot/notes.txt": b"not an image",
        "top.png": picture(4),
        "\u200b/5.png": picture(5),
        ".hidden/6.png": picture(6),
        "__MACOSX/boot/7.png": picture(7),
        "boot/": b"",
        "=1+1/8.png": picture(8),
    }
    job = imports.run(zipped(files))
    rows = imports.report(job)
    found = [(row["outcome"], row["error"] and row["error"]["code"]) for row in rows]
    assert found == [
        ("duplicate", None),
        ("label_conflict", "label_conflict"),
        ("rejected", "unsupported_image"),
        ("rejected", "text_missing"),
        ("rejected", "class_invalid"),
        ("created", None),
    ]
    client = imports.service.client
    answer = client.get(job["links"]["report"], headers={"Accept": "text/csv"})
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["code"] for row in table] == [code or "" for _, code in found]
    assert table[-1]["text"] == "'=1+1"  # what a spreadsheet would take for a formula
    counted = {outcome: job["result"][outcome] for outcome, _ in found}
    assert counted == {"duplicate": 1, "label_conflict": 1, "rejected": 3, "created": 1}
    answer = client.get(job["links"]["report"], headers={"Accept": "text/html"})
    assert code_of(answer) == (406, "not_acceptable")


@EMBEDDED
def test_a_bad_archive_fails_its_job_and_nothing_of_it_is_in_the_dataset(imports: Imports) -> None:
    for kind, data, code in BAD:
        job = imports.run(data, kind)
        assert (job["status"], job["error"]["code"]) == ("failed", code), (kind, data[:200])
        assert "report" not in job["links"]
        answer = imports.service.client.get(f"/v1/jobs/{job['id']}/report")
        assert code_of(answer) == (404, "file_report_not_found")
    assert imports.draft() == {}


def test_validation_reports_the_same_and_keeps_nothing_but_the_report(imports: Imports) -> None:
    imports.run(zipped({"boot/1.png": picture(1)}))
    before = imports.service.kept()
    trial = imports.run(zipped(FOLDERS), validate_only="true")
    after = imports.service.kept()
    changed = {name for name in before if before[name] != after[name]}
    assert not changed & {"datasets", "dataset_images", "images", "thumbnails"}
    new = {name.replace("/", "")[-64:] for name in set(after["files"]) - set(before["files"])}
    assert new == {trial["images"]["archive"], trial["result"]["report"]}
    told = imports.report(trial)
    assert [row["outcome"] for row in told] == ["duplicate", "created", "created"]
    assert imports.report(imports.run(zipped(FOLDERS))) == told


@EMBEDDED
def test_what_is_no_archive_is_refused_at_once(imports: Imports) -> None:
    client = imports.service.client
    with imports.service.untouched():
        for data, kind in ((b"", "zip"), (picture(1), "zip"), (b"BZh9" * 200, "gz")):
            assert code_of(imports.send(data, kind)) == (415, "unsupported_archive")
        answer = client.post(f"{PRODUCTS}/imports", json={"archive": "x"})
        assert code_of(answer) == (415, "unsupported_media_type")
        headers = {"Content-Type": TYPES["zip"]}
        answer = client.post("/v1/datasets/no/imports", content=zipped(FOLDERS), headers=headers)
        assert code_of(answer) == (404, "dataset_not_found")
        assert code_of(imports.send(b"", validate_only="yes")) == (422, "field_invalid")


@EMBEDDED
def test_caps_of_body_files_and_unpacked_bytes(home: Path) -> None:
    caps = {"max_body_bytes": 250_000, "max_import_files": 2, "max_unpacked_bytes": 5_000}
    caps["max_file_bytes"] = 4_000
    with running(settings_of(home, **caps)) as service, importing(service) as imports:
        data = tarred({"boot/1.bin": Random(1).randbytes(300_000)})
        pieces = (data[start : start + 10_000] for start in range(0, len(data), 10_000))
        with service.untouched():
            assert code_of(imports.send(pieces, "tar")) == (413, "body_too_large")
        for kind, many in (("zip", zipped(FOLDERS)), ("tar", tarred({"boot/1": bytes(5_000)}))):
            assert imports.run(many, kind)["error"]["code"] == "archive_too_big"
        long = imports.run(zipped({"boot/list.csv": Random(2).randbytes(4_500)}))
        assert (long["error"]["code"], long["error"]["file"]) == ("file_too_large", "boot/list.csv")
        assert imports.run(zipped({"boot/1.png": picture(1)}))["status"] == "succeeded"


def test_an_import_that_is_lost_midway_ends_in_the_same_draft(imports: Imports) -> None:
    job = imports.order(zipped(FOLDERS))
    imports.work(Mock(side_effect=LeaseLost))
    assert imports.draft() == {}
    with imports.service.platform.transactions() as work:
        work[Jobs].release_owner("w")
        work.commit()
    imports.work()
    ended = imports.job(job)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
    resumed, told = imports.draft(), imports.report(ended)
    client = imports.service.client
    client.delete(PRODUCTS)
    client.post("/v1/datasets", json={"name": "products"})
    assert imports.report(imports.run(zipped(FOLDERS))) == told
    assert imports.draft() == resumed


@EMBEDDED
def test_an_import_keeps_its_lease_while_its_images_are_recorded(
    imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = list[float]()

    def recorded(*given: Any, **named: Any) -> list[Receipt]:
        with imports.service.platform.transactions(read_only=True) as work:
            leases.extend(one.lease_s for one in work[Jobs].held("w"))
        return receive(*given, **named)

    monkeypatch.setattr(import_images, "receive", recorded)
    monkeypatch.setattr(import_images, "RECORDING_S", 1_000.0)
    assert imports.run(zipped(FOLDERS))["status"] == "succeeded"
    assert leases[0] > 1_000 * len(FOLDERS)


def test_an_archive_and_its_dataset_are_kept_until_the_job_has_ended(imports: Imports) -> None:
    client, platform = imports.service.client, imports.service.platform

    def kept() -> set[ArtifactKind]:
        return set(collect_garbage(platform, SERVICE, grace=timedelta(0), dry_run=True).kept)

    job = imports.order(zipped(FOLDERS))
    assert ArtifactKind.ARCHIVE in kept()
    used = client.delete(PRODUCTS)
    assert code_of(used) == (409, "in_use")
    assert used.json()["facts"]["jobs"] == [job["id"]]
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert ArtifactKind.ARCHIVE not in kept()
    again = client.post(f"/v1/jobs/{job['id']}/retry").json()
    assert again["retry_of"] == job["id"]
    client.post(f"/v1/jobs/{again['id']}/cancel")
    platform.artifacts.delete(job["images"]["archive"])
    with imports.service.untouched():
        answer = client.post(f"/v1/jobs/{job['id']}/retry")
    assert code_of(answer) == (410, "archive_gone")
    ended = imports.run(zipped(FOLDERS))
    assert ArtifactKind.REPORT in kept()
    assert imports.report(ended)


@EMBEDDED
def test_an_archive_does_not_bring_back_what_was_erased(imports: Imports) -> None:
    artifacts = imports.service.platform.artifacts
    (row, *_) = imports.report(imports.run(zipped(FOLDERS)))
    form = imports.service.client.get(f"{PRODUCTS}/images/{row['pixels']}").headers["etag"]
    order = {"images": [row["pixels"]], "reason": "asked for"}
    assert imports.service.client.post("/v1/erasures", json=order).status_code == 202
    imports.work()
    for query in ({"validate_only": "true"}, {}):
        (again, *others) = imports.report(imports.run(zipped(FOLDERS), **query))
        assert again["error"]["code"] == "image_erased"
        assert [one["outcome"] for one in others] == ["duplicate", "duplicate"]
        assert not artifacts.has(Digest(form.strip('"')))
