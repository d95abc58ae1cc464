"""Datasets to teach, and the order to teach one."""

from typing import Any

from core.datasets.manifests import Side
from tests.support.api.image_files import pictures_on
from tests.support.api.service import Service


def a_dataset(service: Service, name: str, **first: int) -> None:
    """A frozen dataset; three training images of each class, from the given one on."""
    images = pictures_on(Side.TRAIN, 9)
    found = [(text, images[n]) for text, at in first.items() for n in range(at, at + 3)]
    frozen(service, name, *found)


def frozen(service: Service, name: str, *images: tuple[str, bytes], kind: str = "labelled") -> None:
    """A frozen dataset of images, each with its text."""
    files = [(text, (f"{n}.png", data)) for n, (text, data) in enumerate(images)]
    service.client.post("/v1/datasets", json={"name": name, "kind": kind})
    assert service.client.post(f"/v1/datasets/{name}/images", files=files).status_code == 200
    assert service.client.post(f"/v1/datasets/{name}/versions").status_code == 201


def update(**changes: Any) -> dict[str, Any]:
    body = {"type": "update", "model": "demo", "dataset": "products", "dataset_version": 1}
    return {name: value for name, value in (body | changes).items() if value is not None}
