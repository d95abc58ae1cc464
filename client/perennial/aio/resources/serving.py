"""Trials and vectors."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from perennial import types
from perennial.aio.connection import Resource, download, in_thread
from perennial.requests import LABELS_AT_ONCE, given, idempotency, if_match, path_of

PRODUCTION = "production"
LATEST = "latest"


class Trials(Resource):
    """Trials: a second version behind an alias, and the labels that judge it.

    The trial `latest` is the newest one of the alias.
    """

    async def start(
        self,
        model: str,
        version: int,
        *,
        mode: types.TrialMode,
        share: float | None = None,
        alias: str = PRODUCTION,
        reason: str | None = None,
        expected_revision: int | None = None,
    ) -> types.Trial:
        """Try a version beside the one that an alias points at.

        A `canary` answers a share of the requests, up to a half; a `shadow` is asked once the other
        version has answered. With `expected_revision`, it starts only if the alias has not moved
        since.
        """
        body = given(version=version, mode=mode, share=share, reason=reason)
        headers = if_match(expected_revision)
        return await self._connection.post(_trial_path(model, alias), body, headers=headers)

    async def get(
        self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> types.TrialReport:
        """Return what a trial's answers and labels say so far."""
        return await self._connection.get(_trial_path(model, alias, trial))

    def list(self, model: str, *, alias: str = PRODUCTION) -> AsyncIterator[types.Trial]:
        """Yield the trials of an alias, oldest first."""
        return self._connection.pages(_trial_path(model, alias))

    async def stop(
        self,
        model: str,
        trial: str = LATEST,
        *,
        alias: str = PRODUCTION,
        reason: str | None = None,
    ) -> types.Trial:
        """End a trial; the alias points where it did."""
        path = f"{_trial_path(model, alias, trial)}/stop"
        return await self._connection.post(path, given(reason=reason))

    def to_label(
        self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> AsyncIterator[types.ToLabel]:
        """Yield the disagreements of a shadow without a label, in random and fixed order.

        Label the first ones, whatever their answers are.
        """
        return self._connection.pages(_trial_path(model, alias, trial, "to-label"))

    def samples(
        self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> AsyncIterator[types.Sample]:
        """Yield the images about which the versions of a shadow disagree, if some are kept."""
        return self._connection.pages(_trial_path(model, alias, trial, "samples"))

    async def read_sample(
        self, model: str, pixels: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> bytes:
        """Return a sample as it is stored: a WebP file."""
        path = _trial_path(model, alias, trial, "samples", pixels)
        return (await self._connection.send("GET", path)).content

    async def delete_samples(
        self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> None:
        """Delete the samples of a trial; its counts stay."""
        await self._connection.delete(_trial_path(model, alias, trial, "samples"))

    async def label(self, labels: Iterable[tuple[str, str]]) -> Sequence[types.LabelReceipt]:
        """Send the classes that are right, each with the `prediction` of a classified image.

        Return a receipt for each. Labels may be sent again: each counts once. Raises ServiceError
        if all of a request, which holds up to 1,000, are refused.
        """
        rows = [{"prediction": prediction, "label": label} for prediction, label in labels]
        receipts: list[types.LabelReceipt] = []
        for first in range(0, len(rows), LABELS_AT_ONCE):
            body = {"labels": rows[first : first + LABELS_AT_ONCE]}
            reply = await self._connection.post(path_of("feedback"), body)
            receipts += reply["data"]
        return receipts


def _trial_path(model: str, alias: str, *trial: str) -> str:
    return path_of("models", model, "aliases", alias, "trials", *trial)


class Vectors(Resource):
    """Vectors of a dataset version's images, and reports on old indexes."""

    async def order(
        self,
        model: str,
        version: int,
        dataset: str,
        dataset_version: int,
        *,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order the vectors of a dataset version's images, in the place of those stored."""
        body = {"dataset": dataset, "dataset_version": dataset_version}
        headers = idempotency(idempotency_key)
        return await self._connection.post(_vectors_path(model, version), body, headers=headers)

    async def list(self, model: str, version: int) -> Sequence[types.Vectors]:
        """Return what is stored by a version, by dataset and dataset version."""
        found = await self._connection.get(_vectors_path(model, version))
        return found["data"]

    async def get(
        self, model: str, version: int, dataset: str, dataset_version: int
    ) -> types.Vectors:
        """Return what is stored of a dataset version's vectors."""
        path = _vectors_path(model, version, dataset, dataset_version)
        return await self._connection.get(path)

    async def delete(self, model: str, version: int, dataset: str, dataset_version: int) -> None:
        """Delete stored vectors."""
        await self._connection.delete(_vectors_path(model, version, dataset, dataset_version))

    async def download(
        self,
        model: str,
        version: int,
        dataset: str,
        dataset_version: int,
        *,
        to: Path,
        on_bytes: Callable[[int, int], object] | None = None,
    ) -> Path:
        """Download vectors as a .npy file of float32, one row for each image, and return `to`.

        After an interruption, the next call goes on where this one stopped. `on_bytes` is called
        with the number of bytes that are there and the number of all.
        """
        found = await self.get(model, version, dataset, dataset_version)
        path = _vectors_path(model, version, dataset, dataset_version, "download")
        digest = found["artifact"]
        return await download(self._connection, path, digest=digest, to=to, on_bytes=on_bytes)

    async def download_images(
        self, model: str, version: int, dataset: str, dataset_version: int, *, to: Path
    ) -> Path:
        """Download what each row is of: a line of JSON with `pixels` and `texts`; return `to`."""
        path = _vectors_path(model, version, dataset, dataset_version, "images")
        response = await self._connection.send("GET", path)
        await in_thread(partial(to.write_bytes, response.content))
        return to

    async def compare(
        self,
        model: str,
        version: int,
        *,
        baseline: int | None = None,
        idempotency_key: str | None = None,
    ) -> types.Job:
        """Order a report on an index of the baseline's vectors, by default the parent's."""
        path = _compatibility(model, version)
        headers = idempotency(idempotency_key)
        body = given(**{"from": baseline})
        return await self._connection.post(path, body, headers=headers)

    async def reports(self, model: str, version: int) -> Sequence[types.Compatibility]:
        """Return the reports of a version, by the version that each compares it with."""
        found = await self._connection.get(_compatibility(model, version))
        return found["data"]

    async def report(self, model: str, version: int, baseline: int) -> types.Compatibility:
        """Return whether an index of the baseline's vectors still serves the version."""
        path = _compatibility(model, version, baseline)
        return await self._connection.get(path)

    async def map(self, model: str, version: int, baseline: int) -> Sequence[types.EmbeddingMap]:
        """Return where both versions of a report put test images, by suite and holdout."""
        found = await self._connection.get(_compatibility(model, version, baseline, "map"))
        return found["data"]

    async def download_bridge(self, model: str, version: int, baseline: int, *, to: Path) -> Path:
        """Download the map of the baseline's vectors as a safetensors file, and return `to`.

        Raises ValueError if what has arrived is not what the report names.
        """
        found = await self.report(model, version, baseline)
        path = _compatibility(model, version, baseline, "bridge")
        response = await self._connection.send("GET", path)
        if hashlib.sha256(response.content).hexdigest() != found["bridge"]["artifact"]:
            raise ValueError("the bridge was replaced meanwhile: download it again")
        await in_thread(partial(to.write_bytes, response.content))
        return to


def _vectors_path(model: str, version: int, *rest: str | int) -> str:
    return path_of("models", model, "versions", version, "vectors", *rest)


def _compatibility(model: str, version: int, *rest: str | int) -> str:
    return path_of("models", model, "versions", version, "compatibility", *rest)
