"""The service's HTTP API, as the demo speaks it."""

import json
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from demo.pack_reader import PackImage

Json = dict[str, Any]
BATCH = 200


class Problem(Exception):
    """The service answered with a problem+json."""

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status} {body.get('code')}: {body.get('detail')}")


class Client:
    """One method for each thing the demo asks for."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=120,
            trust_env=False,  # loopback needs no proxy
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Send a request. Raises Problem for any answer that is not a success."""
        answer = self._http.request(method, path, **sent)
        if not answer.is_success:
            raise Problem(answer.status_code, answer.json())
        return answer

    def get(self, path: str, **sent: Any) -> Json:
        """GET some JSON."""
        return self.request("GET", path, **sent).json()  # type: ignore[no-any-return]

    def post(self, path: str, body: Json | None = None, **sent: Any) -> Json:
        """POST some JSON, receive some."""
        return self.request("POST", path, json=body or {}, **sent).json()  # type: ignore[no-any-return]

    def upload(
        self, dataset: str, images: Sequence[PackImage], told: Callable[[int], None]
    ) -> list[Json]:
        """Upload images in batches; the receipts of all files."""
        receipts: list[Json] = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            files = [(image.text, (image.file_name, image.data, "image/webp")) for image in batch]
            answer = self.request("POST", f"/v1/datasets/{dataset}/images", files=files)
            receipts += answer.json()["data"]
            told(len(batch))
        return receipts

    def follow(self, job: str, told: Callable[[Json], None]) -> Json:
        """Poll a job until it is done, telling each state; the job."""
        while True:
            found = self.get(f"/v1/jobs/{job}")
            told(found)
            if found["done"]:
                if found["status"] != "succeeded":
                    raise SystemExit(f"Job {job} {found['status']}: {found['error']}")
                return found
            time.sleep(0.3)

    def classify(
        self, reference: str, images: Sequence[PackImage], classes: Sequence[str]
    ) -> list[str]:
        """The one of the classes that a version gives each image."""
        files = [("images", (image.file_name, image.data, "image/webp")) for image in images]
        answer = self.request(
            "POST",
            f"/v1/models/{reference}/classify",
            files=files,
            data={"classes": json.dumps(list(classes))},
        ).json()
        return [row["predictions"][0]["class"] for row in answer["data"]]
