"""Datasets, pages and frozen versions."""

from tests.support.api.image_files import picture
from tests.support.api.service import Service, code_of


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


def test_a_name_is_taken_once(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "products"})
    with service.untouched():
        answer = service.client.post("/v1/datasets", json={"name": "products"})
    assert code_of(answer) == (409, "name_taken")


def test_names_can_stand_in_a_url(service: Service) -> None:
    for name in ["", "A", "../x", "a b", "-a", "x" * 65]:
        with service.untouched():
            answer = service.client.post("/v1/datasets", json={"name": name})
        assert code_of(answer) == (422, "name_invalid"), name


def test_pages_hold_everything_once(service: Service) -> None:
    names = [f"set-{n}" for n in range(5)]
    for name in names:
        service.client.post("/v1/datasets", json={"name": name})
    found, after, pages = [], None, 0
    while True:
        page = service.client.get(
            "/v1/datasets", params={"limit": 2} | ({"after": after} if after else {})
        )
        found += [row["name"] for row in page.json()["data"]]
        pages += 1
        after = page.json()["next"]
        if not page.json()["has_more"]:
            break
    assert sorted(found) == names
    assert pages == 3
    assert after is None


def test_images_are_paged_by_pixels(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "products"})
    upload(service, "products", boot=range(5))
    first = service.client.get("/v1/datasets/products/images?limit=3").json()
    rest = service.client.get(
        "/v1/datasets/products/images", params={"after": first["next"]}
    ).json()
    pixels = [row["pixels"] for row in first["data"] + rest["data"]]
    assert first["has_more"]
    assert not rest["has_more"]
    assert pixels == sorted(set(pixels))
    assert len(pixels) == 5


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


def test_an_empty_dataset_cannot_be_frozen(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "products"})
    with service.untouched():
        answer = service.client.post("/v1/datasets/products/versions")
    assert code_of(answer) == (409, "dataset_empty")


def test_what_is_not_there(service: Service) -> None:
    service.client.post("/v1/datasets", json={"name": "products"})
    with service.untouched():
        assert code_of(service.client.get("/v1/datasets/x")) == (404, "dataset_not_found")
        answer = service.client.get("/v1/datasets/products/versions/7")
        assert code_of(answer) == (404, "dataset_version_not_found")
        answer = service.client.get("/v1/datasets/products/versions/99999999999999999999")
        assert code_of(answer) == (422, "field_invalid")
        answer = service.client.get("/v1/datasets/products/versions?after=x")
        assert code_of(answer) == (422, "field_invalid")
