"""Jobs, such as updates, conversions, evaluations and blames."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Unpack

from perennial import types
from perennial.aio.connection import Resource, stream_events, wait_until_done
from perennial.requests import given, idempotency, path_of


class Jobs(Resource):
    """Jobs, such as updates, conversions, evaluations and blames.

    An order with the same `idempotency_key` is not placed again: the reply is the job of the first
    time. Without one, each call is an order of its own.
    """

    async def order_update(
        self,
        *,
        model: str,
        dataset: str,
        dataset_version: int | None = None,
        recipe: Mapping[str, Any] | None = None,
        force: bool | None = None,
        parent: int | None = None,
        alias: str | None = None,
        auto_promote: bool | None = None,
        prompt: str | None = None,
        captions: Mapping[str, Any] | None = None,
        reference: types.DatasetVersionRef | None = None,
        priority: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order an update: teach a model the classes or the captions of a dataset version.

        Without `dataset_version`, the dataset's present images are taught, and become a version
        unless the newest has the same or the order is refused. So are those of `captions`, a
        captioned dataset that is taught beside classes: `{"dataset": "photos", "version": 1}`.
        `recipe` has the fields that differ from the model's default or from the `preset` that it
        names; `force` allows a learning rate far above the default. `auto_promote`, which takes an
        operator's key, moves the alias when the version passes; it is the default with such a key.
        """
        body = given(
            type="update",
            model=model,
            dataset=dataset,
            dataset_version=dataset_version,
            recipe=recipe,
            force=force,
            parent=parent,
            alias=alias,
            auto_promote=auto_promote,
            prompt=prompt,
            captions=captions,
            reference=reference,
            priority=priority,
            metadata=metadata,
        )
        return await self._order(path_of("jobs"), body, idempotency_key)

    async def advise_update(
        self,
        *,
        model: str,
        dataset: str,
        dataset_version: int,
        recipe: Mapping[str, Any] | None = None,
        parent: int | None = None,
        alias: str | None = None,
        prompt: str | None = None,
        captions: Mapping[str, Any] | None = None,
        reference: types.DatasetVersionRef | None = None,
    ) -> types.Advice:
        """Return advice on an update before it is ordered; nothing is queued or written.

        An order that could not start raises the same error as `order_update`.
        """
        body = given(
            type="update",
            model=model,
            dataset=dataset,
            dataset_version=dataset_version,
            recipe=recipe,
            parent=parent,
            alias=alias,
            prompt=prompt,
            captions=captions,
            reference=reference,
        )
        return await self._connection.post(path_of("jobs", "advice"), body)

    async def order_conversion(
        self,
        *,
        model: str,
        precision: types.ServingPrecision,
        version: int | None = None,
        alias: str | None = None,
        auto_promote: bool | None = None,
        priority: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order a conversion: make a version of another one's tensors, in another precision.

        Without `version`, it is made of the alias's. It is scored as any version, and
        `auto_promote` is as for updates.
        """
        body = given(
            type="convert",
            model=model,
            version=version,
            precision=precision,
            alias=alias,
            auto_promote=auto_promote,
            priority=priority,
            metadata=metadata,
        )
        return await self._order(path_of("jobs"), body, idempotency_key)

    async def order_evaluation(
        self,
        *,
        model: str,
        version: int,
        alias: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order an evaluation: score a version again, by the model's present suites and policy."""
        body = given(type="evaluate", model=model, version=version, alias=alias, priority=priority)
        return await self._order(path_of("jobs"), body, idempotency_key)

    async def order_blame(
        self,
        *,
        model: str,
        version: int,
        class_name: str | None = None,
        by: types.Grouping | None = None,
        groups: int | None = None,
        suite: str | None = None,
        priority: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order a blame: find which images of a version's update cost a class its accuracy.

        The update is trained again without each of at most so many `groups` of its images, and
        nothing is promoted. Without `class_name`, it is about each class that has fallen.
        """
        body = given(
            type="blame",
            model=model,
            version=version,
            by=by,
            groups=groups,
            suite=suite,
            priority=priority,
            metadata=metadata,
            **{"class": class_name},
        )
        return await self._order(path_of("jobs"), body, idempotency_key)

    async def blame(self, job: str) -> types.BlameReport:
        """Return the report of a blame that has succeeded."""
        return await self._connection.get(path_of("jobs", job, "blame"))

    async def get(self, job: str) -> types.Job:
        """Return a job."""
        return await self._connection.get(path_of("jobs", job))

    def list(self, **filters: Unpack[types.JobFilters]) -> AsyncIterator[types.JobSummary]:
        """Yield jobs, newest first. Times need a time zone."""
        return self._connection.pages(path_of("jobs"), **filters)

    def events(self, job: str, *, after: int | None = None) -> AsyncIterator[types.Event]:
        """Yield the events that a job has had so far, oldest first, or those after one of them."""
        return self._connection.pages(path_of("jobs", job, "events"), after=after)

    def watch(self, job: str, *, after: int | None = None) -> AsyncIterator[types.Event]:
        """Yield a job's events as they happen, or those after one of them, until it has ended.

        A connection that breaks is made again, and no event comes twice.
        """
        return stream_events(self._connection, path_of("jobs", job, "events"), after)

    async def wait(
        self,
        job: str,
        on_poll: Callable[[types.Job], object] | None = None,
        *,
        every: float = 0.5,
        timeout: float | None = None,
    ) -> types.Job:
        """Wait until a job has succeeded, and return it.

        It is polled every so many seconds; `on_poll` is called with it each time. Raises
        JobFailed if it fails or is cancelled, and TimeoutError when it still runs after
        `timeout` seconds. Whatever is raised meanwhile, the job goes on, and can be waited for
        again.
        """
        return await wait_until_done(lambda: self.get(job), on_poll, every=every, timeout=timeout)

    async def cancel(self, job: str) -> types.Job:
        """Cancel a job: at once if it is queued, at its next step if it is running."""
        return await self._connection.post(path_of("jobs", job, "cancel"))

    async def retry(self, job: str, *, idempotency_key: str | None = None) -> types.Job:
        """Order a failed or cancelled job again, and return the new job."""
        return await self._order(path_of("jobs", job, "retry"), None, idempotency_key)

    async def _order(self, path: str, body: Mapping[str, Any] | None, key: str | None) -> types.Job:
        return await self._connection.post(path, body, headers=idempotency(key))
