"""Imports and exports over the API, at a service whose worker is scripted."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core import bootstrap
from core.images.decoder import DecodedImage, Decoder
from tests.support.api.service import Service
from tests.support.scene import Script
from tests.support.tools import run_next

PRODUCTS = "/v1/datasets/products"

TYPES = {
    **{"zip": "application/zip", "tar": "application/x-tar", "gz": "application/gzip"},
    "any": "application/octet-stream",
}

Blow = Callable[[], object]


@dataclass
class Striking:
    """A decoder, at one of whose images something happens."""

    real: Decoder
    blow: Blow
    left: int  # images

    def decode(self, data: bytes) -> DecodedImage:
        self.left -= 1
        if self.left == 0:
            self.blow()
        return self.real.decode(data)

    def preview(self, data: bytes) -> bytes:
        return self.real.preview(data)


@dataclass(frozen=True)
class Imports:
    """A service with a dataset `products`, and a worker."""

    service: Service
    decoder: Decoder

    def send(self, data: Any, kind: str = "zip", **query: str) -> Any:
        headers = {"Content-Type": TYPES[kind]}
        return self.service.client.post(
            f"{PRODUCTS}/imports", content=data, headers=headers, params=query
        )

    def order(self, data: bytes, kind: str = "zip", **query: str) -> Any:
        answer = self.send(data, kind, **query)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        return answer.json()

    def work(self, blow: Blow | None = None, after: int = 2) -> None:
        """Have the worker run the next job; `blow` happens at its image `after`."""
        decoder = Striking(self.decoder, blow, after) if blow else self.decoder
        platform = self.service.platform
        run_next(platform, Script(platform), decoder=decoder)

    def job(self, job: Any) -> Any:
        return self.service.client.get(f"/v1/jobs/{job['id']}").json()

    def run(self, data: bytes, kind: str = "zip", **query: str) -> Any:
        job = self.order(data, kind, **query)
        self.work()
        return self.job(job)

    def report(self, job: Any) -> list[dict[str, Any]]:
        answer = self.service.client.get(job["links"]["report"])
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in answer.text.splitlines()]

    def draft(self) -> dict[str, Any]:
        """The texts and the group of each image of the dataset."""
        found = self.service.client.get(f"{PRODUCTS}/images?limit=200").json()["data"]
        return {one["pixels"]: (one["texts"], one["near_duplicate_of"]) for one in found}


@contextmanager
def importing(service: Service, kind: str = "labelled") -> Iterator[Imports]:
    """Imports into an empty dataset."""
    made = service.client.post("/v1/datasets", json={"name": "products", "kind": kind})
    assert made.status_code == 201, made.text
    decoder = bootstrap.decoder(service.settings, processes=2)
    try:
        yield Imports(service, decoder)
    finally:
        decoder.close()


EXPORTS = "/v1/models/demo/versions/1/exports"


@dataclass(frozen=True)
class Desk:
    """A service whose worker is scripted."""

    service: Service
    script: Script

    def order(self, export_format: str = "onnx", path: str = EXPORTS, **headers: str) -> Any:
        body = {"format": export_format}
        return self.service.client.post(path, json=body, headers=headers)

    def work(self) -> Any:
        """Run the next job; it as it is shown afterwards."""
        job = run_next(self.service.platform, self.script)
        return self.service.client.get(f"/v1/jobs/{job.id}").json()

    def export(self, export_format: str = "onnx", path: str = EXPORTS) -> Any:
        answer = self.order(export_format, path)
        assert answer.status_code == 202, answer.text
        return self.work()

    def get(self, path: str, **headers: str) -> Any:
        return self.service.client.get(path, headers=headers)
