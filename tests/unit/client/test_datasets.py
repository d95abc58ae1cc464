"""Uploading in batches, and the datasets, suites and policies that come of it."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from core.datasets.manifests import Side
from core.values import sha256
from perennial.errors import ServiceError
from perennial.requests import ImageFile
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture, pictures_on
from tests.support.api.imports import importing_worker
from tests.support.api.served import Served


def in_memory(*seeds: int) -> list[tuple[str, ImageFile]]:
    return [("boot", ImageFile(file_name=f"{seed}.png", data=picture(seed))) for seed in seeds]


def test_images_go_up_in_batches_and_come_back_as_receipts(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perennial.requests.BATCH_IMAGES", 2)
    served.client.datasets.create("batches")
    sent: list[int] = []
    receipts = served.client.datasets.upload("batches", in_memory(1, 2, 3, 4, 1), sent.append)
    assert sent == [2, 2, 1]
    assert [receipt["file"] for receipt in receipts] == [f"{n}.png" for n in (1, 2, 3, 4, 1)]
    assert [receipt["outcome"] for receipt in receipts] == [*4 * ["created"], "duplicate"]
    assert served.client.datasets.get("batches")["counts"] == {"boot": 4}


def test_a_batch_is_small_enough_for_one_request(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = in_memory(5, 6, 7)
    first, second, _ = (len(image.data) for _, image in images)
    monkeypatch.setattr("perennial.requests.BATCH_BYTES", first + second)
    served.client.datasets.create("large")
    sent: list[int] = []
    served.client.datasets.upload("large", images, sent.append)
    assert sent == [2, 1]


def test_files_are_read_from_disk_and_texts_keep_their_quotes(
    served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "owl.png"
    path.write_bytes(picture(8))
    served.client.datasets.create("captions", kind="captioned")
    (receipt,) = served.client.datasets.upload("captions", [('an owl, "Uhu"', path)])
    assert (receipt["file"], receipt["text"]) == ("owl.png", 'an owl, "Uhu"')


def test_a_refused_image_has_a_receipt_with_the_reason(served: Served) -> None:
    served.client.datasets.create("broken")
    broken = ("boot", ImageFile(file_name="a.png", data=b"no image"))
    _, receipt = served.client.datasets.upload("broken", [*in_memory(9), broken])
    assert receipt["outcome"] == "rejected"
    assert receipt["error"] is not None
    with pytest.raises(ServiceError, match="422 all_rejected"):
        served.client.datasets.upload("broken", [broken])


def test_nothing_to_upload_is_no_request(served: Served) -> None:
    assert served.client.datasets.upload("never-created", []) == []


def test_a_frozen_dataset_becomes_a_suite(served: Served) -> None:
    client = served.client
    client.datasets.create("pets")
    images = pictures_on(Side.TRAIN, 4)
    pairs = [(("cat", "dog")[n % 2], data) for n, data in enumerate(images)]
    client.datasets.upload(
        "pets", [(text, ImageFile(file_name="a.png", data=data)) for text, data in pairs]
    )
    frozen = client.datasets.freeze("pets")
    assert (frozen["number"], frozen["images"], frozen["classes"]) == (1, 4, ["cat", "dog"])
    assert list(client.datasets.versions("pets")) == [frozen]

    suite = client.suites.create("pets", kind="zero_shot", dataset="pets", dataset_version=1)
    assert client.suites.get("pets") == suite
    assert suite in list(client.suites.list())


def test_a_policy_takes_the_defaults_of_what_is_left_out(served: Served) -> None:
    made = served.client.policies.create("lenient", parent_tolerance=0.5)
    default = served.client.policies.get("default")
    assert made["parent_tolerance"] == 0.5
    assert made["alpha"] == default["alpha"]
    assert {policy["name"] for policy in served.client.policies.list()} >= {"default", "lenient"}


def test_a_list_goes_on_to_its_last_page(served: Served) -> None:
    names = {f"one-of-many-{n}" for n in range(60)}  # a page has 50
    for name in names:
        served.client.datasets.create(name)
    listed = [dataset["name"] for dataset in served.client.datasets.list()]
    assert names <= set(listed)
    assert len(listed) == len(set(listed))


def test_a_name_is_no_path(served: Served) -> None:
    with pytest.raises(ServiceError, match="404"):
        served.client.datasets.get("pets/versions?limit=1#x")


def test_a_dataset_is_edited_and_looked_into(served: Served) -> None:
    datasets = served.client.datasets
    datasets.create("edited", metadata={"by": "us"})
    assert datasets.change("edited", description="shoes")["metadata"] == {"by": "us"}
    datasets.upload("edited", in_memory(*range(20, 24)))
    datasets.freeze("edited")
    first, *_ = found = [image["pixels"] for image in datasets.images("edited", of_class="boot")]
    assert datasets.move_images("edited", [first], to="a/b") == {"class": "a/b", "moved": 1}
    assert datasets.rename_class("edited", "a/b", "bag") == {"class": "bag", "images": 1}
    datasets.freeze("edited")
    diff = datasets.diff("edited", 2, against=1)
    assert [(change["pixels"], change["after"]) for change in diff["data"]] == [(first, ["bag"])]
    frozen = [image["pixels"] for image in datasets.frozen_images("edited", 2)]
    assert frozen == found
    assert datasets.statistics("edited")["images"] == 4
    assert list(datasets.near_duplicates("edited")) == []
    assert datasets.read_image("edited", first)[8:12] == b"WEBP"
    assert datasets.read_image("edited", first, thumbnail=True)[8:12] == b"WEBP"
    with pytest.raises(ServiceError, match="409 image_frozen"):
        datasets.delete_image("edited", first)
    for version in (1, 2):
        datasets.delete_version("edited", version)
    datasets.delete_image("edited", first)
    assert datasets.get("edited")["images"] == 3
    datasets.delete("edited")
    with pytest.raises(ServiceError, match="404"):
        datasets.get("edited")


def test_a_bucket_is_imported_only_if_the_operator_allows_it(served: Served) -> None:
    served.client.datasets.create("from-a-bucket")
    with pytest.raises(ServiceError, match="422 bucket_not_allowed"):
        served.client.datasets.import_bucket("from-a-bucket", "s3://photos/shoes")
    with pytest.raises(ServiceError, match="422 field_invalid"):
        served.client.datasets.import_bucket("from-a-bucket", "http://photos/shoes")


def test_a_difference_is_read_to_its_last_page(served: Served) -> None:
    datasets = served.client.datasets
    datasets.create("grown")
    datasets.upload("grown", in_memory(30))
    datasets.freeze("grown")
    datasets.upload("grown", in_memory(*range(31, 91)))  # a page has 50
    datasets.freeze("grown")
    diff = datasets.diff("grown", 2, against=1)
    assert len({change["pixels"] for change in diff["data"]}) == len(diff["data"]) == 60
    assert (diff["added"], diff["has_more"]) == (60, False)


def test_a_folder_and_an_archive_are_imported_and_reported(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "shoes"
    for n in (40, 41):
        path = folder / ("boot", "bag")[n % 2] / f"{n}.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(n))
    archive = tmp_path / "shoes.zip"
    archive.write_bytes(zipped({"boot/40.png": picture(40)}))
    datasets = served.client.datasets
    datasets.create("imported")
    trial = datasets.import_images("imported", archive, validate_only=True)
    assert trial["images"] is not None
    assert (trial["images"]["format"], trial["images"]["validate_only"]) == ("zip", True)
    job = datasets.import_images("imported", folder, idempotency_key="once")
    assert datasets.import_images("imported", folder, idempotency_key="once")["id"] == job["id"]
    with importing_worker(served.platform) as work:
        work()
        work()
    files = [row["file"] for row in datasets.import_report(job["id"])]
    assert files == ["bag/41.png", "boot/40.png"]
    assert [row["outcome"] for row in datasets.import_report(trial["id"])] == ["created"]
    assert datasets.get("imported")["counts"] == {"bag": 1, "boot": 1}


def test_a_file_is_sent_in_parts_over_a_connection_that_breaks(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, breaks = tmp_path / "a.zip", {2: True, 3: False}  # whether it arrived nevertheless
    archive.write_bytes(zipped({f"boot/{n}.png": picture(n, side=60) for n in range(50, 53)}))
    monkeypatch.setattr("perennial.resources.uploads.PART_BYTES", 9_000)
    monkeypatch.setattr("perennial.resources.uploads.FIRST_PAUSE_S", 0.0)
    uploads, sent, seen = served.client.uploads, list[str](), list[int]()
    real = uploads._connection.send

    def breaking(method: str, path: str, **given: Any) -> httpx.Response:
        if method == "PATCH":
            sent.append(given["headers"]["Upload-Offset"])
            if breaks.get(len(sent)) is False:
                raise httpx.ConnectError("no connection")
        response = real(method, path, **given)
        if method == "PATCH" and breaks.get(len(sent)):
            raise httpx.ReadError("no reply")
        return response

    monkeypatch.setattr(uploads._connection, "send", breaking)
    upload = uploads.send(archive, on_bytes=lambda done, _: seen.append(done))
    size = archive.stat().st_size
    assert sent == ["0", "9000", "18000", *(f"{at}" for at in range(18_000, size, 9_000))]
    assert seen[-1] == uploads.get(upload)["length"] == size
    assert uploads.send(archive, upload=upload) == upload
    assert served.client.datasets.create("in-parts")
    job = served.client.datasets.import_upload("in-parts", upload, validate_only=True)
    assert job["images"] is not None
    assert job["images"]["archive"] == sha256(archive.read_bytes())
    uploads.delete(upload)
    with pytest.raises(ServiceError, match="404 upload_not_found"):
        uploads.send(archive, upload=upload)
