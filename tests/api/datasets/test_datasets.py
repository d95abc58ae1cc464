"""Datasets: made, edited, looked into, frozen and compared; near-duplicates are on one side."""

import io
from typing import Any

import pytest
from PIL import Image

from core.datasets.rows import Datasets
from tests.support.api.image_files import photograph, picture
from tests.support.api.service import EMBEDDED, Service, code_of


def upload(service: Service, dataset: str, **classes: range) -> None:
    files = [(name, (f"{n}.png", picture(n))) for name, seeds in classes.items() for n in seeds]
    assert service.client.post(f"/v1/datasets/{dataset}/images", files=files).status_code == 200


def test_a_dataset_is_made_and_found_by_name_and_id(service: Service) -> None:
    made = service.client.post("/v1/datasets", json={"name": "products"})
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/datasets/products"
    for reference in ("products", made.json()["id"]):
        found = service.client.get(f"/v1/datasets/{reference}").json()
        assert found == made.json() | {"images": 0, "counts": {}}


def test_a_name_is_taken_once_and_an_empty_dataset_is_not_frozen(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "products"})
    here = "/v1/datasets/products/versions"
    with service.untouched():
        for answer, refusal in (
            (service.client.post("/v1/datasets", json={"name": "products"}), (409, "name_taken")),
            (service.client.post("/v1/datasets", json={"name": "../x"}), (422, "name_invalid")),
            (service.client.post(here), (409, "dataset_empty")),
            (service.client.get(f"{here}/7"), (404, "dataset_version_not_found")),
            (service.client.get(f"{here}/99999999999999999999"), (422, "field_invalid")),
            (service.client.get(f"{here}?after=x"), (422, "field_invalid")),
        ):
            assert code_of(answer) == refusal, answer.url


def test_pages_hold_everything_once(service: Service) -> None:
    names = [f"set-{n}" for n in range(5)]
    for name in names:
        service.client.post("/v1/datasets", json={"name": name})
    found: list[str] = []
    more = "/v1/datasets?limit=2"
    for has_more in (True, True, False):
        page = service.client.get(more).json()
        found += [row["name"] for row in page["data"]]
        assert (page["has_more"], page["next"] is not None) == (has_more, has_more)
        more = f"/v1/datasets?limit=2&after={page['next']}"
    assert sorted(found) == names


def test_a_version_is_frozen_and_never_changes(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "products"})
    upload(service, "products", boot=range(3))
    made = service.client.post("/v1/datasets/products/versions", json={})
    assert made.status_code == 201
    upload(service, "products", bag=range(10, 12))
    second = service.client.post("/v1/datasets/products/versions").json()
    first = service.client.get(made.headers["location"]).json()
    assert first == made.json()
    assert (first["number"], first["images"], first["classes"]) == (1, 3, ["boot"])
    assert (second["number"], second["images"], second["classes"]) == (2, 5, ["bag", "boot"])
    assert sum(first["counts"]["boot"].values()) == 3
    page = service.client.get("/v1/datasets/products/versions?limit=1").json()
    assert (page["data"], page["next"]) == ([first], "1")
    page = service.client.get("/v1/datasets/products/versions?after=1").json()
    assert (page["data"], page["has_more"]) == ([second], False)


PETS = "/v1/datasets/pets"


@pytest.fixture
def pets(service: Service) -> Service:
    """A service with the dataset `pets`: three cats and two dogs."""
    service.client.post("/v1/datasets", json={"name": "pets"})
    upload(service, "pets", cat=range(3), dog=range(3, 5))
    return service


def get(service: Service, path: str) -> Any:
    answer = service.client.get(f"{PETS}{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def counts(service: Service) -> Any:
    return get(service, "")["counts"]


def images_of(service: Service, name: str) -> list[str]:
    return [image["pixels"] for image in get(service, f"/images?class={name}")["data"]]


def test_a_dataset_is_described(service: Service) -> None:
    body = {"name": "pets", "description": " of pets ", "metadata": {"ticket": "7"}}
    made = service.client.post("/v1/datasets", json=body).json()
    assert (made["description"], made["metadata"]) == ("of pets", {"ticket": "7"})
    changed = service.client.patch(PETS, json={"description": "Ours"}).json()
    assert changed == {**made, "description": "Ours"}
    emptied = service.client.patch(PETS, json={"metadata": {}}).json()
    assert emptied == {**changed, "metadata": {}}
    assert emptied.items() <= get(service, "").items()
    wrong = service.client.patch(PETS, json={"name": "dogs"})
    assert code_of(wrong) == (422, "field_unknown")
    missing = service.client.patch("/v1/datasets/none", json={})
    assert code_of(missing) == (404, "dataset_not_found")


def test_a_class_joins_another_only_when_asked(pets: Service) -> None:
    pets.client.post(f"{PETS}/versions")
    pets.client.post("/v1/datasets", json={"name": "texts", "kind": "captioned"})
    with pets.untouched():
        for path, name, refusal in (
            (f"{PETS}/classes/cat", "dog", (409, "class_taken")),
            (f"{PETS}/classes/owl", "elk", (404, "class_not_found")),
            (f"{PETS}/classes/cat", "\u200b", (422, "class_invalid")),
            ("/v1/datasets/texts/classes/a", "b", (409, "not_labelled")),
        ):
            assert code_of(pets.client.patch(path, json={"name": name})) == refusal
    renamed = pets.client.patch(f"{PETS}/classes/cat", json={"name": " cat/lynx "})
    assert renamed.json() == {"class": "cat/lynx", "images": 3}
    assert counts(pets) == {"cat/lynx": 3, "dog": 2}
    into = {"name": "dog", "merge": True}
    joined = pets.client.patch(f"{PETS}/classes/cat%2Flynx", json=into)
    assert joined.json() == {"class": "dog", "images": 5}
    assert counts(pets) == {"dog": 5}
    assert get(pets, "/versions/1")["classes"] == ["cat", "dog"]


def test_images_move_between_classes_all_or_none(pets: Service) -> None:
    first, second, _ = images_of(pets, "cat")
    with pets.untouched():
        refused = pets.client.post(
            f"{PETS}/moves", json={"class": "owl", "images": [first, "0" * 64]}
        )
    assert code_of(refused) == (404, "image_not_found")
    assert refused.json()["facts"] == {"pixels": ["0" * 64]}
    dog = images_of(pets, "dog")[0]
    moved = pets.client.post(f"{PETS}/moves", json={"class": "dog", "images": [first, second, dog]})
    assert moved.json() == {"class": "dog", "moved": 2}
    assert counts(pets) == {"cat": 1, "dog": 4}
    assert {first, second, dog} <= set(images_of(pets, "dog"))


def test_an_image_is_deleted_unless_a_version_holds_it(pets: Service) -> None:
    frozen = images_of(pets, "cat")[0]
    pets.client.post(f"{PETS}/versions")
    upload(pets, "pets", cat=range(5, 6))
    (new,) = set(images_of(pets, "cat")) - {
        image["pixels"] for image in get(pets, "/versions/1/images")["data"]
    }
    with pets.untouched():
        refused = pets.client.delete(f"{PETS}/images/{frozen}")
    assert code_of(refused) == (409, "image_frozen")
    assert refused.json()["facts"] == {"versions": [1]}
    assert pets.client.delete(f"{PETS}/images/{new}").status_code == 204
    for method in ("GET", "DELETE"):
        gone = pets.client.request(method, f"{PETS}/images/{new}")
        assert code_of(gone) == (404, "image_not_found")
    pets.client.delete(f"{PETS}/versions/1")
    assert pets.client.delete(f"{PETS}/images/{frozen}").status_code == 204
    assert counts(pets) == {"cat": 2, "dog": 2}


def test_an_image_is_read_back_as_it_is_stored(pets: Service) -> None:
    pixels = images_of(pets, "dog")[0]
    path = f"{PETS}/images/{pixels}"
    answer = pets.client.get(path)
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    shown = Image.open(io.BytesIO(answer.content)).convert("RGB").tobytes()
    assert shown in {Image.open(io.BytesIO(picture(n))).tobytes() for n in (3, 4)}
    for shown_at in (path, f"{path}/thumbnail"):
        first = pets.client.get(shown_at)
        assert Image.open(io.BytesIO(first.content)).format == "WEBP"
        tag = first.headers["etag"]
        again = pets.client.get(shown_at, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert code_of(pets.client.get(f"{PETS}/images/x")) == (422, "field_invalid")


def test_an_image_of_a_version_alone_is_still_shown(pets: Service) -> None:
    """As one is whose class was in a dataset when it was frozen and is not any more."""
    pixels = images_of(pets, "dog")[0]
    pets.client.post(f"{PETS}/versions")
    with pets.platform.transactions() as work:
        work[Datasets].remove_image(work[Datasets].get("pets").id, pixels)  # type: ignore[arg-type]
        work.commit()
    assert pets.client.get(f"{PETS}/images/{pixels}").status_code == 200
    pets.client.post("/v1/datasets", json={"name": "other"})
    elsewhere = pets.client.get(f"/v1/datasets/other/images/{pixels}")
    assert code_of(elsewhere) == (404, "image_not_found")


def test_images_of_draft_and_version_are_listed_by_class_and_page(pets: Service) -> None:
    pets.client.post(f"{PETS}/versions")
    for path in ("/images", "/versions/1/images"):
        page = get(pets, f"{path}?class=cat&limit=2")
        rest = get(pets, f"{path}?class=cat&limit=2&after={page['next']}")
        assert (page["has_more"], rest["has_more"]) == (True, False)
        found = [*page["data"], *rest["data"]]
        assert [image["pixels"] for image in found] == images_of(pets, "cat")
        assert {tuple(image["texts"]) for image in found} == {("cat",)}
        assert len(get(pets, path)["data"]) == 5
        assert get(pets, f"{path}?class=owl")["data"] == []


def test_two_versions_are_compared(pets: Service) -> None:
    pets.client.post(f"{PETS}/versions")
    cats = images_of(pets, "cat")
    pets.client.post(f"{PETS}/moves", json={"class": "dog", "images": cats[:1]})
    upload(pets, "pets", owl=range(6, 8))
    pets.client.post(f"{PETS}/versions")
    page = get(pets, "/versions/2/diff?against=1&limit=2")
    rest = get(pets, f"/versions/2/diff?against=1&limit=2&after={page['next']}")
    for found in (page, rest):
        assert (found["added"], found["removed"], found["moved"]) == (2, 0, 1)
    none = {"added": 0, "removed": 0, "moved_in": 0, "moved_out": 0}
    assert page["classes"]["owl"] == {**none, "added": 2}
    changes = [*page["data"], *rest["data"]]
    assert sorted(change["change"] for change in changes) == ["added", "added", "moved"]
    (moved,) = [change for change in changes if change["change"] == "moved"]
    assert moved == {"pixels": cats[0], "change": "moved", "before": ["cat"], "after": ["dog"]}
    missing = pets.client.get(f"{PETS}/versions/2/diff?against=9")
    assert code_of(missing) == (404, "dataset_version_not_found")


def test_statistics_count_sides_duplicates_and_look_alikes(pets: Service) -> None:
    upload(pets, "pets", cat=range(3))
    files = [("owl", (f"{q}.jpg", photograph(1, quality=q))) for q in (95, 60)]
    assert pets.client.post(f"{PETS}/images", files=files).status_code == 200
    found = get(pets, "/statistics")
    assert (found["images"], found["duplicates"]) == (7, 3)
    assert (found["near_duplicates"], found["near_duplicate_groups"]) == (1, 1)
    assert set(found["classes"]) == {"cat", "dog", "owl"}
    assert {image["side"] for image in get(pets, "/images")["data"]} == {None}
    assert pets.client.post(f"{PETS}/versions").status_code == 201
    listed = [image["side"] for image in get(pets, "/images")["data"]]
    assert found["sides"] == {side: listed.count(side) for side in ("train", "holdout")}
    (group,) = get(pets, "/near-duplicates")["data"]
    assert group["count"] == 2
    assert [image["pixels"] for image in group["images"]] == images_of(pets, "owl")
    assert group["group"] in images_of(pets, "owl")


def sent(service: Service, dataset: str, *pictures: bytes) -> list[dict[str, Any]]:
    """The receipts of pictures that are put into a dataset, which is made if need be."""
    service.client.post("/v1/datasets", json={"name": dataset})
    files = [("boot", (f"{n}.jpg", data)) for n, data in enumerate(pictures)]
    answer = service.client.post(f"/v1/datasets/{dataset}/images", files=files)
    assert answer.status_code == 200, answer.text
    receipts: list[dict[str, Any]] = answer.json()["data"]
    return receipts


@EMBEDDED
def test_copies_are_on_the_first_ones_side_and_other_pictures_are_told_apart(
    service: Service,
) -> None:
    copies = [photograph(n, quality=quality) for n in range(20) for quality in (95, 92, 75)]
    receipts = sent(service, "one", *copies)
    firsts = receipts[0::3]
    version = service.client.post("/v1/datasets/one/versions").json()
    assert (version["images"], version["near_duplicates"]) == (60, 40)
    images = service.client.get("/v1/datasets/one/versions/1/images?limit=100").json()["data"]
    sides = {image["pixels"]: image["side"] for image in images}
    assert set(sides.values()) == {"train", "holdout"}
    larger = sent(service, "two", *(photograph(n, quality=90, side=60) for n in range(20)))
    others = sent(service, "two", *(photograph(n, quality=90) for n in range(100, 140)))
    assert not any(other["near_duplicate_of"] for other in [*firsts, *others])
    for first, *later in zip(firsts, receipts[1::3], receipts[2::3], larger, strict=True):
        assert {copy["near_duplicate_of"] for copy in later} == {first["pixels"]}
        assert later[2]["side"] == sides[first["pixels"]]
        assert {sides[copy["pixels"]] for copy in later[:2]} == {later[2]["side"]}
