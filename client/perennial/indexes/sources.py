"""Images of an index, and their vectors by a version: of a dataset, or of files of one's own."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from perennial import requests
from perennial.client import Client
from perennial.errors import ServiceError
from perennial.indexes.store import IndexFailure, Item, Vector
from perennial.types import Embed

T = TypeVar("T")

AT_ONCE = 1000  # vectors that are written at a time
TRIES, PAUSE_S = 20, 3.0  # while the service is busy, or is starting again
POLL_S = 0.2  # of a job
Notify = Callable[[str], object]


class Source(Protocol):
    """The images that an index is to have."""

    def name(self) -> str:
        """Return a name of what the images are now; it changes when they do, if it is not empty."""

    def wanted(self) -> Mapping[str, str]:
        """Return the ids of all images, each with the digest of its image."""

    def items(self, version: int, ids: Collection[str]) -> Iterator[Sequence[Item]]:
        """Yield batches of images with these ids, with their vectors by a version.

        An image that cannot be embedded is left out.
        """


class DatasetSource:
    """The newest version of a dataset; a worker embeds its images, and an erased one is gone."""

    def __init__(
        self, client: Client, model: str, dataset: str, folder: Path, notify: Notify
    ) -> None:
        self._client = client
        self._model = model
        self._dataset = dataset
        self._notify = notify
        self._listed: dict[int, Mapping[str, str]] = {}
        self._folder = folder  # for what is downloaded

    def name(self) -> str:
        """Return the dataset version, as `products:3`."""
        number = self._newest()
        return f"{self._dataset}:{number}"

    def _newest(self) -> int:
        """Return the number of the newest version, 0 if no image is left of it."""
        versions = list(self._client.datasets.versions(self._dataset))
        if not versions:
            raise IndexFailure(
                f"The dataset {self._dataset} has no version: run `perennial dataset freeze "
                f"{self._dataset}`."
            )
        newest = versions[-1]
        return 0 if newest["replaced_by"] == 0 else newest["number"]

    def wanted(self) -> Mapping[str, str]:
        """Return the digests of the images' pixels."""
        number = self._newest()
        if number not in self._listed:
            images = self._client.datasets.frozen_images(self._dataset, number) if number else ()
            self._listed = {number: {one["pixels"]: one["pixels"] for one in images}}
        return self._listed[number]

    def items(self, version: int, ids: Collection[str]) -> Iterator[Sequence[Item]]:
        """Yield images with the vectors that the service stores; see docs/old-vectors.md."""
        if not ids or not (number := self._newest()):
            return
        self._order(version, number)
        place = self._folder / f"{version}-{number}"
        asked = (self._model, version, self._dataset, number)
        file = self._client.vectors.download(*asked, to=place.with_suffix(".npy"))
        lines = self._client.vectors.download_images(*asked, to=place.with_suffix(".jsonl"))
        vectors, wanted = np.load(file, mmap_mode="r"), set(ids)
        with lines.open(encoding="utf-8") as rows:
            found = (
                Item(id=one["pixels"], source=one["pixels"], texts=one["texts"], vector=vector)
                for one, vector in zip(map(json.loads, rows), vectors, strict=True)
                if one["pixels"] in wanted
            )
            yield from batches(found, AT_ONCE)

    def _order(self, version: int, number: int) -> None:
        """Have a worker make the vectors unless they are stored; a job that runs is waited for."""
        client, asked = self._client, (self._model, version, self._dataset, number)
        for key in (f"index {self._model}:{version} {self._dataset}:{number}", None):
            try:
                client.vectors.get(*asked)
            except ServiceError as error:
                if error.code != "vectors_not_found":
                    raise
            else:
                return
            job = client.vectors.order(*asked, idempotency_key=key)
            self._notify(f"job {job['id']} embeds {self._dataset}:{number} by version {version}")
            client.jobs.wait(job["id"], every=POLL_S)


class FolderSource:
    """Files below a folder, told apart by their paths; the service embeds them in requests."""

    def __init__(self, client: Client, model: str, folder: Path, notify: Notify) -> None:
        self._client = client
        self._model = model
        self._folder = folder
        self._notify = notify
        self._digests: dict[str, tuple[tuple[int, int], str]] = {}  # by path, with size and time
        self._refused: set[str] = set()

    def name(self) -> str:
        """Return nothing: what the files are is seen by looking at each."""
        return ""

    def wanted(self) -> Mapping[str, str]:
        """Return the files below the folder, without those that the service has refused."""
        found = {}
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                place = path.relative_to(self._folder).as_posix()
                found[place] = self._digest(place, path)
        return {place: digest for place, digest in found.items() if digest not in self._refused}

    def _digest(self, place: str, path: Path) -> str:
        """Return a file's SHA-256, which is computed again when its size or time has changed."""
        status = path.stat()
        state = (status.st_size, status.st_mtime_ns)
        if self._digests.get(place, (None,))[0] != state:
            self._digests[place] = (state, hashlib.sha256(path.read_bytes()).hexdigest())
        return self._digests[place][1]

    def items(self, version: int, ids: Collection[str]) -> Iterator[Sequence[Item]]:
        """Yield files with their vectors; refused ones are told of once."""
        for batch in requests.batches((place, self._folder / place) for place in sorted(ids)):
            if found := list(self._embedded(version, batch)):
                yield found

    def _embedded(self, version: int, batch: requests.Batch) -> Iterator[Item]:
        images = [image for _, image in batch]
        rows: list[tuple[str | None, object]]
        try:
            reply = embed_patiently(self._client, f"{self._model}:{version}", images=images)
        except ServiceError as error:
            if error.status != 422:  # none can be read
                raise
            rows = [(error.detail, None) for _ in batch]
        else:
            rows = [
                (one["error"] and one["error"]["detail"], one["embedding"]) for one in reply["data"]
            ]
        for (place, image), (refusal, vector) in zip(batch, rows, strict=True):
            digest = hashlib.sha256(image.data).hexdigest()
            if vector is None:
                self._refused.add(digest)
                self._notify(f"{place} is left out: {refusal}")
            else:
                yield Item(id=place, source=digest, texts=[], vector=vector_of(str(vector)))


def vector_of(text: str) -> Vector:
    """Return the vector that a reply holds as base64."""
    return np.frombuffer(base64.b64decode(text), "<f4")


def embed_patiently(client: Client, reference: str, **inputs: Any) -> Embed:
    """Embed images or texts; it is asked for again while the service says that it is busy."""
    left = TRIES
    while True:
        left -= 1
        try:
            return client.embed(reference, **inputs, encoding_format="base64")
        except ServiceError as error:
            if not (left and error.retryable):
                raise
            time.sleep(PAUSE_S)


def batches(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield lists of so many items, the last of which may be shorter."""
    while batch := list(islice(items, size)):
        yield batch
