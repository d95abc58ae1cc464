"""The asynchronous client: one object with the API's verbs, grouped by noun."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Self

import httpx

from perennial.aio.connection import Connection, in_thread
from perennial.aio.resources.access import Audit, Keys
from perennial.aio.resources.datasets import Datasets, Erasures, Suites
from perennial.aio.resources.exports import Bundles, Exports
from perennial.aio.resources.indexes import Indexes
from perennial.aio.resources.jobs import Jobs
from perennial.aio.resources.models import Aliases, Models, Policies, Versions
from perennial.aio.resources.serving import Trials, Vectors
from perennial.aio.resources.uploads import Uploads
from perennial.requests import Image, form_file, given, in_memory, json_of, path_of
from perennial.types import Classify, Embed, Principal, Worker

READY_TIMEOUT_S = 5.0


class AsyncClient:
    """A client of one service, which authenticates with one key.

    Optional arguments of its verbs that are left out take the service's defaults. Every verb
    raises ServiceError for a reply that reports an error, and httpx.TransportError when there is
    no reply. One client serves any number of calls at a time.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float | httpx.Timeout = 120.0, trust_env: bool = True
    ) -> None:
        """Make a client of the service at `url`; nothing is sent yet.

        `timeout` is in seconds, for connecting and for each piece sent or received. With
        `trust_env`, proxies are taken from the environment, as httpx does.
        """
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout,
            trust_env=trust_env,
        )
        self._connection = Connection(self._http)
        self.aliases = Aliases(self._connection)
        self.audit = Audit(self._connection)
        self.bundles = Bundles(self._connection)
        self.datasets = Datasets(self._connection)
        self.erasures = Erasures(self._connection)
        self.exports = Exports(self._connection)
        self.indexes = Indexes(self._connection)
        self.jobs = Jobs(self._connection)
        self.keys = Keys(self._connection)
        self.models = Models(self._connection)
        self.policies = Policies(self._connection)
        self.suites = Suites(self._connection)
        self.trials = Trials(self._connection)
        self.uploads = Uploads(self._connection)
        self.vectors = Vectors(self._connection)
        self.versions = Versions(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Send any request, such as one that has no verb here, and return the reply.

        `path` starts with `/v1/`; `sent` is what httpx takes. A reply 304 is returned, other
        replies than successes are raised.
        """
        return await self._connection.send(method, path, **sent)

    async def classify(
        self,
        reference: str,
        images: Iterable[Image],
        classes: Sequence[str] | None = None,
        *,
        prompt: str | None = None,
        prompts: Sequence[str] | None = None,
        top_k: int | None = None,
        none_of_these: float | None = None,
        expect_digest: str | None = None,
        routing_key: str | None = None,
    ) -> Classify:
        """Classify images with a version: `name`, `name@alias`, `name:7` or `name@sha256:...`.

        By default the classes are those that the version has learned. With several `prompts`,
        the vector of a class is the mean of theirs. With `none_of_these`, a false-rejection rate
        that the version is calibrated for such as 0.05, each image is also told to show one of the
        classes or none. With `expect_digest`, a reference that now means another version is
        refused. While the alias has a trial as a canary, requests with the same `routing_key` are
        answered by the same version.
        """
        fields = given(
            classes=None if classes is None else json.dumps(list(classes)),
            prompt=prompt,
            prompts=None if prompts is None else json.dumps(list(prompts)),
            top_k=top_k,
            none_of_these=none_of_these,
            expect_digest=expect_digest,
        )
        files = await in_thread(lambda: [form_file("images", in_memory(image)) for image in images])
        path = path_of("models", reference, "classify")
        headers = {"Perennial-Routing-Key": routing_key} if routing_key is not None else {}
        answer = await self._connection.send(
            "POST", path, data=fields, files=files, headers=headers
        )
        return json_of(answer)

    async def embed(
        self,
        reference: str,
        *,
        images: Iterable[Image] | None = None,
        texts: Sequence[str] | None = None,
        encoding_format: str | None = None,
        expect_digest: str | None = None,
    ) -> Embed:
        """Embed images or texts with a version: `name`, `name@alias`, `name:7` or a digest.

        Vectors are L2-normalised; with the `encoding_format` `base64` each is that of its
        little-endian float32 values. With `expect_digest`, a reference that now means another
        version is refused. Raises ValueError unless there are either images or texts.
        """
        if (images is None) is (texts is None):
            raise ValueError("give either images or texts")
        path = path_of("models", reference, "embed")
        fields = given(encoding_format=encoding_format, expect_digest=expect_digest)
        if texts is not None:
            body = {"texts": list(texts), **fields}
            return json_of(await self._connection.send("POST", path, json=body))
        found = images or ()
        files = await in_thread(lambda: [form_file("images", in_memory(image)) for image in found])
        answer = await self._connection.send("POST", path, data=fields, files=files)
        return json_of(answer)

    async def principal(self) -> Principal:
        """Return the holder of the client's key: its name, role and models."""
        return await self._connection.get(path_of("principal"))

    async def workers(self) -> list[Worker]:
        """Return all workers, also those that have stopped."""
        page = await self._connection.get(path_of("workers"))
        return page["data"]

    async def is_ready(self) -> bool:
        """Return True if the service reports that it is ready, False if it does not answer so."""
        try:
            response = await self._http.get("/readyz", timeout=READY_TIMEOUT_S)
        except httpx.TransportError:
            return False
        return response.is_success
