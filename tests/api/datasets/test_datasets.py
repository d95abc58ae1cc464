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
