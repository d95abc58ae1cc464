"""Collections as they are stored: imported over the API by a worker, row by row."""

import json
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from core.errors import LeaseLost
from core.jobs.rows import Jobs
from tests.support.api.archives import tarred, zipped
from tests.support.api.image_files import picture
from tests.support.api.imports import PRODUCTS, Imports, importing
from tests.support.api.service import EMBEDDED, Service, code_of, running, settings_of
from tests.support.api.tables import as_datasets_writes, encrypted_parquet, parquet

SHOES = as_datasets_writes([picture(1), picture(2), picture(3)], [1, 0, 1], ["bag", "boot"])
CAPTIONS = parquet({"image": [picture(1), picture(2)], "text": [["a boot", "a red boot"], ["x"]]})


@pytest.fixture
def imports(service: Service) -> Iterator[Imports]:
    """Imports into an empty labelled dataset."""
    with importing(service) as found:
        yield found


def told(imports: Imports, job: object) -> list[tuple[str, str, str]]:
    return [
        (row["file"], row["text"], row["error"]["code"] if row["error"] else row["outcome"])
        for row in imports.report(job)
    ]


def events(imports: Imports, job: dict[str, object]) -> list[dict[str, object]]:
    answer = imports.service.client.get(f"/v1/jobs/{job['id']}/events").json()["data"]
    return [one["data"] for one in answer if one["kind"] == "columns"]


# ---- Parquet ------------------------------------------------------------------------------------


@EMBEDDED
def test_a_parquet_file_brings_its_images_with_their_classes(imports: Imports) -> None:
    job = imports.run(SHOES, "any")
    assert (job["status"], job["images"]["format"]) == ("succeeded", "parquet")
    assert told(imports, job) == [
        ("images.parquet/row 1/0.png", "boot", "created"),
        ("images.parquet/row 2/1.png", "bag", "created"),
        ("images.parquet/row 3/2.png", "boot", "created"),
    ]
    [columns] = events(imports, job)
    assert columns == {"image": "image", "file": "", "text": "label"}
    assert imports.service.client.get(PRODUCTS).json()["counts"] == {"bag": 1, "boot": 2}
    shards = {"data/train-0.parquet": SHOES, "data/train-1.parquet": SHOES, "README.md": b"about"}
    for data, kind in ((zipped(shards), "zip"), (tarred(shards), "tar")):
        job = imports.run(data, kind)
        assert {row["outcome"] for row in imports.report(job)} == {"duplicate", "rejected"}
        assert len(events(imports, job)) == 1  # of shards that are alike


@EMBEDDED
def test_each_row_is_reported_with_what_became_of_it_and_why(home) -> None:
    images = [picture(1), None, b"no image", picture(2), picture(3), bytes(6_000), picture(1)]
    kinds = ["boot", "boot", "boot", None, "\u200b", "boot", "bag"]
    data = parquet({"image": images, "kind": kinds})
    with running(settings_of(home, max_file_bytes=5_000)) as service, importing(service) as imports:
        job = imports.run(data, "any", label_column="kind")
        assert job["images"]["label_column"] == "kind"
        assert [code for *_, code in sorted(told(imports, job))] == [
            *("created", "file_missing", "unsupported_image", "text_missing"),
            *("class_invalid", "file_too_large", "label_conflict"),
        ]


@EMBEDDED
def test_a_parquet_file_brings_captions_and_an_unlabelled_dataset_takes_images_alone(
    service: Service,
) -> None:
    with importing(service, "captioned") as imports:
        job = imports.run(CAPTIONS, "any")
        assert [text for _, text, _ in told(imports, job)] == ["a boot", "a red boot", "x"]
    service.client.delete(PRODUCTS)
    with importing(service, "unlabelled") as imports:
        job = imports.run(CAPTIONS, "any")
        assert [(text, code) for _, text, code in told(imports, job)] == [("", "created")] * 2


BAD = [
    (encrypted_parquet(plain_footer=True), {}, "archive_unsafe"),
    (encrypted_parquet(plain_footer=False), {}, "archive_unsafe"),
    (SHOES[:-20], {}, "archive_corrupt"),
    (b"PAR1" + bytes(600), {}, "archive_corrupt"),
    (CAPTIONS, {}, "table_invalid"),
    (SHOES, {"label_column": "none"}, "table_invalid"),
    (parquet({"image": [[{"bytes": b"a"}]], "label": ["a"]}), {}, "table_invalid"),
    (parquet({"image": [bytes(10_000)] * 500, "label": ["a"] * 500}), {}, "archive_too_big"),
]


@EMBEDDED
def test_a_bad_parquet_file_fails_its_job_and_nothing_of_it_is_in_the_dataset(home) -> None:
    with running(settings_of(home, max_import_files=600)) as service, importing(service) as imports:
        kept = {*home.iterdir(), home / "artifacts"}
        for data, query, code in BAD:
            job = imports.run(data, "any", **query)
            assert (job["status"], job["error"]["code"]) == ("failed", code), job["error"]
            assert job["error"]["file"] == "images.parquet"
        many = parquet({"image": [b"a"] * 601, "label": ["a"] * 601})
        job = imports.order(many, "any")
        imports.work(Mock(side_effect=AssertionError), after=1)  # no image is decoded
        assert imports.job(job)["error"]["code"] == "archive_too_big"
        assert imports.draft() == {}
        assert {*home.iterdir()} == kept


@EMBEDDED
def test_a_column_of_texts_that_the_dataset_does_not_have_is_refused_at_once(
    imports: Imports,
) -> None:
    with imports.service.untouched():
        answer = imports.send(SHOES, "any", caption_column="text")
        assert code_of(answer) == (422, "field_invalid")
        assert answer.json()["errors"][0]["pointer"] == "#query/caption_column"
        query = {"s3": "s3://photos/x", "caption_column": "text"}
        answer = imports.service.client.post(f"{PRODUCTS}/imports", params=query)
        assert code_of(answer) == (422, "field_invalid")


@EMBEDDED
def test_a_parquet_import_that_is_lost_midway_ends_in_the_same_draft(imports: Imports) -> None:
    job = imports.order(SHOES, "any")
    imports.work(Mock(side_effect=LeaseLost))
    assert imports.draft() == {}
    with imports.service.platform.transactions() as work:
        work[Jobs].release_owner("w")
        work.commit()
    imports.work()
    ended = imports.job(job)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
    assert [code for *_, code in told(imports, ended)] == ["created"] * 3


# ---- WebDataset ---------------------------------------------------------------------------------

SHARD = {
    "a/000.jpg": picture(1),
    "a/000.cls": b"boot\n",
    "a/000.txt": b"a red\nboot",
    "a/000.json": json.dumps({"label": "ignored", "kind": "ankle boot"}).encode(),
    "a/001.png": picture(2),
    "a/001.json": json.dumps({"label": "bag", "caption": "a bag", "kind": "bag"}).encode(),
    "a/002.webp": picture(3),
    "a/003.cls": b"boot",  # without an image
}


@EMBEDDED
def test_samples_of_a_webdataset_get_their_classes_from_what_lies_beside_them(
    imports: Imports,
) -> None:
    job = imports.run(tarred(SHARD), "tar")
    assert told(imports, job) == [
        ("a/000.jpg", "boot", "created"),
        ("a/001.png", "bag", "created"),
        ("a/002.webp", "", "text_missing"),
        ("a/003.cls", "", "text_missing"),
    ]
    assert events(imports, job) == [{"beside": "cls, json"}]
    job = imports.run(tarred(SHARD), "tar", label_column="kind", validate_only="true")
    assert [text for _, text, _ in told(imports, job)] == ["ankle boot", "bag", "", ""]


@EMBEDDED
def test_shards_in_a_folder_are_read_like_one_and_hold_no_others(service: Service) -> None:
    with importing(service, "captioned") as imports:
        shards = {"train/0.tar": tarred(SHARD), "train/1.tar": tarred({"000.png": picture(4)})}
        rows = told(imports, imports.run(tarred(shards), "tar"))
        assert rows[:2] == [
            ("train/0.tar/a/000.jpg", "a red boot", "created"),
            ("train/0.tar/a/001.png", "a bag", "created"),
        ]
        assert ("train/1.tar/000.png", "", "text_missing") in rows
        for inner in ({"2.tar": tarred(SHARD)}, {"2.tar": tarred(SHARD, "w:gz")}):
            ended = imports.run(zipped({"1.tar": tarred(inner)}))
            assert ended["error"]["code"] == "archive_unsafe"
        ended = imports.run(zipped({"1.tar": tarred(SHARD)[:2_000]}))
        assert ended["error"]["code"] == "archive_corrupt"


@EMBEDDED
def test_a_broken_file_beside_an_image_leaves_it_without_a_class(imports: Imports) -> None:
    broken = {"0.json": b"[" * 100_000, "1.cls": b"\xff", "2.json": b'{"label": 7}', "3.cls": b"x"}
    files = {f"{at}.png": picture(at + 1) for at in range(4)} | broken
    codes = {file: code for file, _, code in told(imports, imports.run(zipped(files)))}
    assert codes == {f"{at}.png": "text_missing" for at in range(3)} | {"3.png": "created"}


# ---- imagefolder --------------------------------------------------------------------------------


@EMBEDDED
def test_an_imagefolder_is_read_by_its_metadata_or_by_folders_below_its_splits(
    imports: Imports,
) -> None:
    table = {"file_name": ["bag/2.png"], "label": ["tote"], "width": [3]}
    listed = {
        "train/1.png": picture(1),
        "train/metadata.csv": b"file_name,label,split\n1.png,boot,train\n",
        "test/bag/2.png": picture(2),
        "test/metadata.parquet": parquet(table),
        "validation/3.png": picture(3),
        "validation/metadata.jsonl": b'{"file_name": "3.png", "category": "hat"}',
    }
    assert told(imports, imports.run(zipped(listed))) == [
        ("train/1.png", "boot", "created"),
        ("test/bag/2.png", "tote", "created"),
        ("validation/3.png", "hat", "created"),
    ]
    foldered = {"train/boot/4.png": picture(4), "test/bag/5.png": picture(5)}
    rows = told(imports, imports.run(zipped(foldered)))
    assert [text for _, text, _ in rows] == ["boot", "bag"]
    alone = {"train/6.png": picture(6), "Validation/7.png": picture(7)}
    assert {code for *_, code in told(imports, imports.run(zipped(alone)))} == {"text_missing"}
    vehicles = alone | {"car/8.png": picture(8)}
    rows = told(imports, imports.run(zipped(vehicles)))
    assert [text for _, text, _ in rows] == ["train", "Validation", "car"]
