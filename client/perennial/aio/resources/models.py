"""Models: named lines of versions."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

from perennial.aio.blocking import in_thread
from perennial.aio.connection import Connection
from perennial.image_files import Image, form_file, in_memory
from perennial.replies import json_of
from perennial.request_parts import given, idempotency, path_of
from perennial.types.jobs import Job, ReferenceSet
from perennial.types.models import Learned, Model, Start


class Models:
    """The verbs of models."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        name: str,
        *,
        base: str | None = None,
        suites: Sequence[str] = (),
        policy: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Create a model and return the job that imports `base` as its version 1."""
        body = given(name=name, base=base, suites=list(suites), policy=policy)
        headers = idempotency(idempotency_key)
        return cast(Job, await self._connection.post(path_of("models"), body, headers=headers))

    async def get(self, name: str) -> Model:
        """Return a model."""
        return cast(Model, await self._connection.get(path_of("models", name)))

    def list(self) -> AsyncIterator[Model]:
        """Yield all models, oldest first."""
        return self._connection.pages(path_of("models"))

    async def change(
        self, name: str, *, suites: Sequence[str] | None = None, policy: str | None = None
    ) -> Model:
        """Set the suites or the policy that judge the model's next versions."""
        body = given(suites=None if suites is None else list(suites), policy=policy)
        return cast(Model, await self._connection.patch(path_of("models", name), body))

    async def delete(self, name: str) -> None:
        """Delete a model with its versions, aliases and jobs; its name is free afterwards."""
        await self._connection.delete(path_of("models", name))

    async def teach(
        self,
        name: str,
        images: Iterable[tuple[str, Image]],
        *,
        recipe: Mapping[str, Any] | None = None,
        reference: ReferenceSet | None = None,
        idempotency_key: str | None = None,
    ) -> Start:
        """Teach classes: upload images, each with its class, and order an update, in one request.

        For more images than one request may hold, upload a dataset and order an update of it.
        """
        fields = given(
            recipe=None if recipe is None else json.dumps(recipe),
            reference=None if reference is None else json.dumps(reference),
        )
        answer = await self._connection.send(
            "POST",
            path_of("models", name, "classes"),
            data=fields,
            files=await in_thread(
                lambda: [form_file(text, in_memory(image)) for text, image in images]
            ),
            headers=idempotency(idempotency_key),
        )
        return cast(Start, json_of(answer))

    async def classes(self, name: str, *, alias: str | None = None) -> Learned:
        """Return the classes that the version of an alias has learned."""
        return cast(
            Learned, await self._connection.get(path_of("models", name, "classes"), alias=alias)
        )
