"""Uploading in batches and in parts, lists of several pages, and edits of datasets."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from core.values import sha256
from perennial.errors import ServiceError
from perennial.requests import ImageFile
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture
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
    images = in_memory(5, 6, 7)
    first, second, _ = (len(image.data) for _, image in images)
    monkeypatch.setattr("perennial.requests.BATCH_IMAGES", 3)
    monkeypatch.setattr("perennial.requests.BATCH_BYTES", first + second)
    served.client.datasets.upload("batches", images, sent.append)
    assert sent[3:] == [2, 1]
    assert served.client.datasets.upload("never-created", []) == []  # without a request


def test_files_are_read_from_disk_and_texts_keep_their_quotes(
    served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "owl.png"
    path.write_bytes(picture(8))
    served.client.datasets.create("captions", kind="captioned")
    (receipt,) = served.client.datasets.upload("captions", [('an owl, "Uhu"', path)])
    assert (receipt["file"], receipt["text"]) == ("owl.png", 'an owl, "Uhu"')


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
    for name in ("edited", "grown/versions?limit=1#x"):  # a name is no path
        with pytest.raises(ServiceError, match="404"):
            datasets.get(name)


def test_lists_and_a_difference_are_read_to_their_last_page(served: Served) -> None:
    datasets = served.client.datasets
    datasets.create("grown")
    datasets.upload("grown", in_memory(30))
    datasets.freeze("grown")
    datasets.upload("grown", in_memory(*range(31, 91)))  # a page has 50
    datasets.freeze("grown")
    diff = datasets.diff("grown", 2, against=1)
    assert len({change["pixels"] for change in diff["data"]}) == len(diff["data"]) == 60
    assert (diff["added"], diff["has_more"]) == (60, False)
    listed = [image["pixels"] for image in datasets.images("grown")]
    assert len(set(listed)) == len(listed) == 61


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
