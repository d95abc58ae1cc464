# Written by `python -m devtools.sync_client` from perennial/aio/resources/trials.py: change that.
"""Trials: a second version behind an alias, and the labels that judge it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from perennial.connection import Connection
from perennial.request_parts import given, path_of
from perennial.types.trials import LabelReceipt, Sample, Trial, TrialMode, TrialReport

PRODUCTION = "production"
LATEST = "latest"
LABELS_AT_ONCE = 1000


class Trials:
    """The verbs of trials; the trial `latest` is the newest one of the alias."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(
        self,
        model: str,
        version: int,
        *,
        mode: TrialMode,
        share: float | None = None,
        alias: str = PRODUCTION,
        reason: str | None = None,
        expected_revision: int | None = None,
    ) -> Trial:
        """Try a version beside the one that an alias points at.

        A `canary` answers a share of the requests, up to a half; a `shadow` is asked once the other
        version has answered. With `expected_revision`, it starts only if the alias has not moved
        since.
        """
        body = given(version=version, mode=mode, share=share, reason=reason)
        match = "*" if expected_revision is None else f'"{expected_revision}"'
        path = _path(model, alias)
        return cast(Trial, self._connection.post(path, body, headers={"If-Match": match}))

    def get(self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION) -> TrialReport:
        """Return what a trial's answers and labels say so far."""
        return cast(TrialReport, self._connection.get(_path(model, alias, trial)))

    def list(self, model: str, *, alias: str = PRODUCTION) -> Iterator[Trial]:
        """Yield the trials of an alias, oldest first."""
        return self._connection.pages(_path(model, alias))

    def stop(
        self,
        model: str,
        trial: str = LATEST,
        *,
        alias: str = PRODUCTION,
        reason: str | None = None,
    ) -> Trial:
        """End a trial; the alias points where it did."""
        path = f"{_path(model, alias, trial)}/stop"
        return cast(Trial, self._connection.post(path, given(reason=reason)))

    def samples(
        self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> Iterator[Sample]:
        """Yield the images about which the versions of a shadow disagree, if some are kept."""
        return self._connection.pages(_path(model, alias, trial, "samples"))

    def read_sample(
        self, model: str, pixels: str, trial: str = LATEST, *, alias: str = PRODUCTION
    ) -> bytes:
        """Return a sample as it is stored: a WebP file."""
        path = _path(model, alias, trial, "samples", pixels)
        return (self._connection.send("GET", path)).content

    def delete_samples(self, model: str, trial: str = LATEST, *, alias: str = PRODUCTION) -> None:
        """Delete the samples of a trial; its counts stay."""
        self._connection.delete(_path(model, alias, trial, "samples"))

    def label(self, labels: Iterable[tuple[str, str]]) -> Sequence[LabelReceipt]:
        """Send the classes that are right, each with the `prediction` of a classified image.

        Return a receipt for each. Labels may be sent again: each counts once. Raises ServiceError
        if all of a request, which holds up to 1,000, are refused.
        """
        rows = [{"prediction": prediction, "label": label} for prediction, label in labels]
        receipts: list[LabelReceipt] = []
        for first in range(0, len(rows), LABELS_AT_ONCE):
            body = {"labels": rows[first : first + LABELS_AT_ONCE]}
            reply = self._connection.post(path_of("feedback"), body)
            receipts += cast(Sequence[LabelReceipt], reply["data"])
        return receipts


def _path(model: str, alias: str, *trial: str) -> str:
    return path_of("models", model, "aliases", alias, "trials", *trial)
