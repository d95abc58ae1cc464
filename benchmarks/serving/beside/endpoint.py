"""A server that embeds images, and what is sent to it: what OpenAI's clients send for one image."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.api.load import Target

MODEL = "measured"
Vectors = NDArray[np.float64]  # (images, width), rows of length 1


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where to ask, and with what beside the image."""

    url: str
    pid: int  # of the process that is started first
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the JSON that is sent

    def targets(self, files: Sequence[bytes]) -> Sequence[Target]:
        """Return a request to embed each JPEG."""
        return [Target.of(MODEL, self.pid, request) for request in self._requests(files)]

    def vectors(self, files: Sequence[bytes]) -> Vectors:
        """Return the vectors of the JPEGs. Raises HTTPError."""
        with httpx.Client(timeout=120, trust_env=False) as client:
            answers = [client.send(request).raise_for_status() for request in self._requests(files)]
        found = np.array([answer.json()["data"][0]["embedding"] for answer in answers])
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        rows: Vectors = found / norms
        return rows

    def _requests(self, files: Sequence[bytes]) -> Iterator[httpx.Request]:
        for data in files:
            image = "data:image/jpeg;base64," + base64.b64encode(data).decode()
            asked = {"model": MODEL, "input": [image], **self.fields}
            yield httpx.Request("POST", self.url, headers=self.headers, json=asked)


def least_cosine(one: Vectors, other: Vectors) -> float:
    """Return the least cosine of two vectors of the same image."""
    return float((one * other).sum(axis=1).min())
