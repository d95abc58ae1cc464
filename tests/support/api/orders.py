"""A dataset to teach, and the order to teach it."""

from typing import Any

from core.datasets.manifests import Side
from tests.support.api.image_files import pictures_on
from tests.support.api.service import Service


def a_dataset(service: Service, name: str, **first: int) -> None:
    """A frozen dataset; three training images of each class, from the given one on."""
    images = pictures_on(Side.TRAIN, 9)
    files = [
        (text, (f"{n}.png", images[n]))
        for text, start in first.items()
        for n in range(start, start + 3)
    ]
    service.client.post("/v1/datasets", json={"name": name})
    assert service.client.post(f"/v1/datasets/{name}/images", files=files).status_code == 200
    assert service.client.post(f"/v1/datasets/{name}/versions").status_code == 201


def update(**changes: Any) -> dict[str, Any]:
    body = {"type": "update", "model": "demo", "dataset": "products", "dataset_version": 1}
    return {name: value for name, value in (body | changes).items() if value is not None}
