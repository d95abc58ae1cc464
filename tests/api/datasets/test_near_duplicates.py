"""Near-duplicates belong to one side of every split."""

from typing import Any

from core.datasets.manifests import Side
from tests.support.api.image_files import photograph, picture
from tests.support.api.service import Service, code_of


def sent(
    service: Service, dataset: str, *pictures: bytes, text: str = "boot", kind: str = "labelled"
) -> list[dict[str, Any]]:
    """The receipts of pictures that are put into a dataset, which is made if need be."""
    service.client.post("/v1/datasets", json={"name": dataset, "kind": kind})
    files = [(text, (f"{n}.jpg", data)) for n, data in enumerate(pictures)]
    answer = service.client.post(f"/v1/datasets/{dataset}/images", files=files)
    assert answer.status_code == 200, answer.text
    receipts: list[dict[str, Any]] = answer.json()["data"]
    return receipts


def sides(receipts: list[dict[str, Any]]) -> list[str]:
    return [receipt["side"] for receipt in receipts]


def test_a_picture_saved_twice_is_on_one_side(service: Service) -> None:
    first = sent(service, "one", *(photograph(n, quality=95) for n in range(60)))
    second = sent(service, "two", *(photograph(n, quality=92) for n in range(60)))
    assert {receipt["pixels"] for receipt in first}.isdisjoint(r["pixels"] for r in second)
    assert set(sides(first)) == {"train", "holdout"}
    assert sides(second) == sides(first)


def test_copies_in_one_upload_are_on_the_first_ones_side(service: Service) -> None:
    copies = [photograph(n, quality=quality) for n in range(20) for quality in (95, 92, 75)]
    receipts = sent(service, "one", *copies)
    for first, *later in zip(receipts[0::3], receipts[1::3], receipts[2::3], strict=True):
        assert first["near_duplicate_of"] is None
        assert {copy["near_duplicate_of"] for copy in later} == {first["pixels"]}
        assert set(sides(later)) == {first["side"]}


def test_a_copy_in_another_size_is_told_from_another_picture(service: Service) -> None:
    sent(service, "one", *(photograph(n, quality=90) for n in range(20)))
    larger = sent(service, "two", *(photograph(n, quality=90, side=60) for n in range(20)))
    others = sent(service, "two", *(photograph(n, quality=90) for n in range(100, 140)))
    assert all(receipt["near_duplicate_of"] for receipt in larger)
    assert not any(receipt["near_duplicate_of"] for receipt in others)


def test_images_and_versions_tell_of_near_duplicates(service: Service) -> None:
    copies = [photograph(n, quality=quality) for n in range(4) for quality in (95, 75)]
    receipts = sent(service, "one", *copies)
    listed = service.client.get("/v1/datasets/one/images").json()["data"]
    told = {row["pixels"]: (row["side"], row["near_duplicate_of"]) for row in listed}
    assert told == {row["pixels"]: (row["side"], row["near_duplicate_of"]) for row in receipts}
    version = service.client.post("/v1/datasets/one/versions").json()
    assert (version["images"], version["near_duplicates"]) == (8, 4)
    train = sum(side == "train" for side in sides(receipts))
    assert version["counts"] == {"boot": {"train": train, "holdout": 8 - train}}


def test_what_looks_like_an_image_of_a_suite_is_not_trained_on(service: Service) -> None:
    (asked,) = sent(service, "asked", photograph(1, quality=95))
    service.client.post("/v1/datasets/asked/versions")
    suite = {"name": "s", "kind": "zero_shot", "dataset": "asked", "dataset_version": 1}
    assert service.client.post("/v1/suites", json=suite).status_code == 201
    copy, other = sent(service, "taught", photograph(1, quality=75), picture(2))
    assert copy["error"]["code"] == "image_in_suite"
    assert copy["near_duplicate_of"] == asked["pixels"]
    assert other["outcome"] == "created"
    (captioned,) = sent(service, "talk", photograph(1, quality=75), kind="captioned")
    assert captioned["side"] == asked["side"]


def test_what_looks_like_a_training_image_becomes_no_suite(service: Service) -> None:
    receipts = sent(service, "taught", *(photograph(n, quality=95) for n in range(20)))
    seed = sides(receipts).index(Side.TRAIN)
    service.client.post("/v1/datasets/taught/versions")
    sent(service, "asked", photograph(seed, quality=75))
    service.client.post("/v1/datasets/asked/versions")
    suite = {"name": "s", "kind": "zero_shot", "dataset": "asked", "dataset_version": 1}
    with service.untouched():
        answer = service.client.post("/v1/suites", json=suite)
    assert code_of(answer) == (409, "image_in_training")
