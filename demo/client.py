"""A client for the part of the HTTP API that the demo uses."""

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
    """The service responded with problem+json."""

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.body = body
        super().__init__(f"{status} {body.get('code')}: {body.get('detail')}")


class Client:
    """A client of the HTTP API that authenticates with one key."""

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
        """Send a request and return the response. Raises Problem unless it is a success."""
        answer = self._http.request(method, path, **sent)
        if not answer.is_success:
            raise Problem(answer.status_code, answer.json())
        return answer

    def get(self, path: str, **sent: Any) -> Json:
        """Send a GET request and return the JSON of the response."""
        return self.request("GET", path, **sent).json()  # type: ignore[no-any-return]

    def post(self, path: str, body: Json | None = None, **sent: Any) -> Json:
        """Send a POST request with a JSON body and return the JSON of the response."""
        return self.request("POST", path, json=body or {}, **sent).json()  # type: ignore[no-any-return]

    def upload(
        self, dataset: str, images: Sequence[PackImage], on_batch: Callable[[int], None]
    ) -> list[Json]:
        """Upload images in batches and return the receipts of all files.

        `on_batch` is called with the number of images after each batch.
        """
        receipts: list[Json] = []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            files = [(image.text, (image.file_name, image.data, "image/webp")) for image in batch]
            answer = self.request("POST", f"/v1/datasets/{dataset}/images", files=files)
            receipts += answer.json()["data"]
            on_batch(len(batch))
        return receipts

    def follow(self, job: str, on_poll: Callable[[Json], None]) -> Json:
        """Poll a job until it is done and return it; `on_poll` is called with every state.

        Raises SystemExit unless the job succeeds.
        """
        while True:
            found = self.get(f"/v1/jobs/{job}")
            on_poll(found)
            if found["done"]:
                if found["status"] != "succeeded":
                    raise SystemExit(f"Job {job} {found['status']}: {found['error']}")
                return found
            time.sleep(0.3)

    def classify(
        self, reference: str, images: Sequence[PackImage], classes: Sequence[str]
    ) -> list[str]:
        """Return the class that a version predicts for each image."""
        files = [("images", (image.file_name, image.data, "image/webp")) for image in images]
        answer = self.request(
            "POST",
            f"/v1/models/{reference}/classify",
            files=files,
            data={"classes": json.dumps(list(classes))},
        ).json()
        return [row["predictions"][0]["class"] for row in answer["data"]]
