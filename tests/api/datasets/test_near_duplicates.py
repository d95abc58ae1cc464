"""Near-duplicates belong to one side of every split."""

from typing import Any

from core.datasets.manifests import Side
from tests.support.api.image_files import photograph, picture
from tests.support.api.service import Service, code_of

SUITE = {"name": "s", "kind": "zero_shot", "dataset": "asked", "dataset_version": 1}


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


def test_copies_are_on_the_first_ones_side_and_other_pictures_are_told_apart(
    service: Service,
) -> None:
    copies = [photograph(n, quality=quality) for n in range(20) for quality in (95, 92, 75)]
    receipts = sent(service, "one", *copies)
    firsts = receipts[0::3]
    assert {first["side"] for first in firsts} == {"train", "holdout"}
    larger = sent(service, "two", *(photograph(n, quality=90, side=60) for n in range(20)))
    others = sent(service, "two", *(photograph(n, quality=90) for n in range(100, 140)))
    assert not any(other["near_duplicate_of"] for other in [*firsts, *others])
    for first, *later in zip(firsts, receipts[1::3], receipts[2::3], larger, strict=True):
        assert {copy["near_duplicate_of"] for copy in later} == {first["pixels"]}
        assert {copy["side"] for copy in later} == {first["side"]}
    listed = service.client.get("/v1/datasets/one/images?limit=200").json()["data"]
    told = {row["pixels"]: (row["side"], row["near_duplicate_of"]) for row in listed}
    assert told == {row["pixels"]: (row["side"], row["near_duplicate_of"]) for row in receipts}
    version = service.client.post("/v1/datasets/one/versions").json()
    assert (version["images"], version["near_duplicates"]) == (60, 40)
    train = sum(receipt["side"] == "train" for receipt in receipts)
    assert version["counts"] == {"boot": {"train": train, "holdout": 60 - train}}


def test_what_looks_like_an_image_of_a_suite_is_not_trained_on(service: Service) -> None:
    (asked,) = sent(service, "asked", photograph(1, quality=95))
    service.client.post("/v1/datasets/asked/versions")
    assert service.client.post("/v1/suites", json=SUITE).status_code == 201
    files = (photograph(1, quality=95), photograph(1, quality=75), picture(2))
    same, copy, other = sent(service, "taught", *files)
    assert [one["error"]["code"] for one in (same, copy)] == ["image_in_suite"] * 2
    assert copy["near_duplicate_of"] == asked["pixels"]
    assert other["outcome"] == "created"
    (captioned,) = sent(service, "talk", photograph(1, quality=75), kind="captioned")
    assert captioned["side"] == asked["side"]


def test_what_looks_like_a_training_image_becomes_no_suite(service: Service) -> None:
    receipts = sent(service, "taught", *(photograph(n, quality=95) for n in range(20)))
    seed = [receipt["side"] for receipt in receipts].index(Side.TRAIN)
    service.client.post("/v1/datasets/taught/versions")
    sent(service, "asked", photograph(seed, quality=75))
    service.client.post("/v1/datasets/asked/versions")
    with service.untouched():
        answer = service.client.post("/v1/suites", json=SUITE)
    assert code_of(answer) == (409, "image_in_training")
