"""Models, their versions, aliases, and gate policies."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from perennial import types
from perennial.aio.connection import Resource, download, in_thread
from perennial.requests import (
    Image,
    form_file,
    given,
    idempotency,
    if_match,
    in_memory,
    json_of,
    path_of,
)

PRODUCTION = "production"


class Models(Resource):
    """Models: named lines of versions."""

    async def create(
        self,
        name: str,
        *,
        base: str | None = None,
        suites: Sequence[str] = (),
        policy: str | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Create a model and return the job that imports `base` as its version 1."""
        body = given(name=name, base=base, suites=list(suites), policy=policy)
        headers = idempotency(idempotency_key)
        return await self._connection.post(path_of("models"), body, headers=headers)

    async def get(self, name: str) -> types.Model:
        """Return a model."""
        return await self._connection.get(path_of("models", name))

    def list(self) -> AsyncIterator[types.Model]:
        """Yield all models, oldest first."""
        return self._connection.pages(path_of("models"))

    async def change(
        self,
        name: str,
        *,
        suites: Sequence[str] | None = None,
        policy: str | None = None,
        reason: str | None = None,
    ) -> types.Model:
        """Set the suites or the policy that judge the model's next versions.

        Another policy takes a reason, and so does a suite that is taken away.
        """
        chosen = None if suites is None else list(suites)
        body = given(suites=chosen, policy=policy, reason=reason)
        return await self._connection.patch(path_of("models", name), body)

    async def set_default_recipe(
        self,
        name: str,
        recipe: Mapping[str, Any] | None,
        *,
        force: bool | None = None,
        reason: str | None = None,
    ) -> types.Model:
        """Set what a model's next updates have where their orders leave recipe fields out.

        None restores the default of the model's size. `force` allows a learning rate far above it.
        """
        body = {"default_recipe": recipe, **given(force=force, reason=reason)}
        return await self._connection.patch(path_of("models", name), body)

    async def delete(self, name: str, *, reason: str | None = None) -> None:
        """Delete a model with its versions, aliases and jobs; its name is free afterwards.

        One that was taught takes a reason.
        """
        await self._connection.delete(path_of("models", name), reason=reason)

    async def teach(
        self,
        name: str,
        images: Iterable[tuple[str, Image]],
        *,
        recipe: Mapping[str, Any] | None = None,
        force: bool | None = None,
        reference: types.DatasetVersionRef | None = None,
        idempotency_key: str | None = None,
    ) -> types.Start:
        """Teach classes: upload images, each with its class, and order an update, in one request.

        `recipe` and `force` are as in `jobs.order_update`.
        For more images than one request may hold, upload a dataset and order an update of it.
        """
        fields = given(
            recipe=None if recipe is None else json.dumps(recipe),
            force=None if force is None else json.dumps(force),
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
        return json_of(answer)

    async def classes(self, name: str, *, alias: str | None = None) -> types.Learned:
        """Return the classes that the version of an alias has learned."""
        return await self._connection.get(path_of("models", name, "classes"), alias=alias)


class Versions(Resource):
    """Versions: their facts, reports and weights."""

    async def get(self, model: str, version: int) -> types.Version:
        """Return a version."""
        return await self._connection.get(path_of("models", model, "versions", version))

    def list(self, model: str) -> AsyncIterator[types.VersionSummary]:
        """Yield the versions of a model, oldest first, without their recipes and notes."""
        return self._connection.pages(path_of("models", model, "versions"))

    async def delete(self, model: str, version: int, *, reason: str | None = None) -> None:
        """Delete a version that no alias, no job and no other version needs.

        One that was live or has a failed verdict takes a reason.
        """
        path = path_of("models", model, "versions", version)
        await self._connection.delete(path, reason=reason)

    async def add_test_images(
        self,
        model: str,
        version: int,
        *,
        dataset: str,
        reason: str,
        dataset_version: int | None = None,
    ) -> types.Suite:
        """Add the images of a dataset version to the holdout of the update that made a version.

        Without `dataset_version`, these are the present images. They judge all versions that know
        the update; the answer is about all that were added so far.
        """
        path = path_of("models", model, "versions", version, "holdout", "images")
        body = given(dataset=dataset, dataset_version=dataset_version, reason=reason)
        return await self._connection.post(path, body)

    def verdicts(self, model: str, version: int) -> AsyncIterator[types.VersionVerdict]:
        """Yield the gate's verdicts on a version with what each covers, oldest first."""
        return self._connection.pages(path_of("models", model, "versions", version, "verdicts"))

    async def report(self, model: str, version: int, *, job: str | None = None) -> types.Report:
        """Return the forgetting report of a version, or that of one of its verdicts by its job."""
        return await self._connection.get(_report_path(model, version), job=job)

    async def report_page(self, model: str, version: int, *, job: str | None = None) -> str:
        """Return a forgetting report of a version as an HTML page with plots."""
        headers = {"Accept": "text/html"}
        path = _report_path(model, version)
        answer = await self._connection.send("GET", path, params=given(job=job), headers=headers)
        return answer.text

    async def evidence(self, model: str, version: int, *, job: str | None = None) -> bytes:
        """Return the evidence of a report as a zip: `perennial verify` recomputes the verdict."""
        path = f"{_report_path(model, version)}/evidence"
        answer = await self._connection.send("GET", path, params=given(job=job))
        return answer.content

    def flips(
        self,
        model: str,
        version: int,
        *,
        against: str | int = "parent",
        suite: str | None = None,
        kind: types.FlipKind | None = None,
        class_name: str | None = None,
    ) -> AsyncIterator[types.Flip]:
        """Yield what either a version or its baseline answered right, but not both.

        These are images, and captions of captioned suites.
        """
        path = path_of("models", model, "versions", version, "flips")
        query = {"against": against, "suite": suite, "kind": kind, "class": class_name}
        return self._connection.pages(path, **query)

    async def compare(self, model: str, before: int, now: int) -> types.Comparison:
        """Compare a version with an earlier one by their answers to the same test images."""
        path = path_of("models", model, "compare")
        return await self._connection.get(path, versions=f"{before},{now}")

    async def blame(
        self, model: str, class_name: str, *, version: int | None = None
    ) -> types.Blame:
        """Return a class's accuracy along a line of versions, and where it fell most.

        The line is that of `version`, or else of the version that `production` points to.
        """
        query = {"class": class_name, "version": version}
        return await self._connection.get(path_of("models", model, "blame"), **query)

    async def download(
        self,
        model: str,
        version: int,
        *,
        to: Path,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Download a version as a tar file of the folder that open_clip loads, and return `to`.

        After an interruption, the next call goes on where this one stopped. `on_bytes` is called
        with the number of bytes that are there and the number of all.
        """
        found = await self.get(model, version)
        digest = found["digest"]
        path = path_of("models", model, "versions", version, "download")
        return await download(self._connection, path, digest=digest, to=to, on_bytes=on_bytes)


def _report_path(model: str, version: int) -> str:
    return path_of("models", model, "versions", version, "forgetting")


class Aliases(Resource):
    """Aliases: names of versions, such as `production`, that promotions and rollbacks move.

    `expected_revision` is the revision of the alias that the decision to move it was based on:
    if the alias has moved since, the move is refused with `412 stale_revision`. Without it, the
    alias moves whatever its present revision is.
    """

    async def get(self, model: str, alias: str = PRODUCTION) -> types.Alias:
        """Return an alias."""
        return await self._connection.get(_alias_path(model, alias))

    def list(self, model: str) -> AsyncIterator[types.Alias]:
        """Yield the aliases of a model."""
        return self._connection.pages(path_of("models", model, "aliases"))

    async def promote(
        self,
        model: str,
        version: int,
        *,
        alias: str = PRODUCTION,
        reason: str | None = None,
        override: bool | None = None,
        expected_revision: int | None = None,
        decided_on: str | None = None,
    ) -> types.Alias:
        """Point an alias at a version, if the gate lets it.

        With `expected_revision=0` the alias is created, and must not exist. `override` promotes a
        version that the gate refuses; it needs a reason. With the `decided_on` of a preview, the
        move is refused with `412 stale_preview` if the gate says something else by now.
        """
        body = given(version=version, reason=reason, override=override, decided_on=decided_on)
        headers = {"If-None-Match": "*"} if expected_revision == 0 else if_match(expected_revision)
        answer = await self._connection.send(
            "PUT", _alias_path(model, alias), json=body, headers=headers
        )
        return json_of(answer)

    async def preview(self, model: str, version: int, *, alias: str = PRODUCTION) -> types.Preview:
        """Return how a promotion without a reason would end now; nothing is moved."""
        return await self._connection.get(f"{_alias_path(model, alias)}/promotion", version=version)

    async def roll_back(
        self,
        model: str,
        *,
        alias: str = PRODUCTION,
        reason: str,
        to: int | None = None,
        override: bool | None = None,
        expected_revision: int | None = None,
    ) -> types.Alias:
        """Point an alias at the version that was live before, or at the earlier one `to`."""
        body = given(reason=reason, to=to, override=override)
        headers = if_match(expected_revision)
        path = f"{_alias_path(model, alias)}/rollback"
        return await self._connection.post(path, body, headers=headers)

    async def delete(
        self,
        model: str,
        alias: str,
        *,
        reason: str,
        expected_revision: int | None = None,
    ) -> None:
        """Delete an alias; the history of its moves stays."""
        headers = if_match(expected_revision)
        await self._connection.delete(_alias_path(model, alias), headers=headers, reason=reason)

    def history(self, model: str, alias: str = PRODUCTION) -> AsyncIterator[types.Move]:
        """Yield the moves of an alias, oldest first."""
        return self._connection.pages(f"{_alias_path(model, alias)}/history")


def _alias_path(model: str, alias: str) -> str:
    return path_of("models", model, "aliases", alias)


class Policies(Resource):
    """Gate policies: how much a version may forget."""

    async def create(self, name: str, **rules: Unpack[types.PolicyRules]) -> types.Policy:
        """Create a policy, with a reason. Tolerances are fractions of 1, so 0.03 is 3 points."""
        body = given(name=name, **rules)
        return await self._connection.post(path_of("gate-policies"), body)

    async def get(self, name: str) -> types.Policy:
        """Return a policy."""
        return await self._connection.get(path_of("gate-policies", name))

    def list(self) -> AsyncIterator[types.Policy]:
        """Yield all policies."""
        return self._connection.pages(path_of("gate-policies"))
